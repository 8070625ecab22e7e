"""Debian's archive, as this computer's apt reaches it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

# Its systemd still knows cgroup v1.
SUITE = "bookworm"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def sources(suite: str = SUITE) -> list[str]:
    """Return lines of a sources.list for `suite`, from the mirror of this computer, else from Debian's own address."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    mirrors = re.findall(r"\bhttps?://\S+/debian/?(?=\s|$)", re.sub(r"(?m)^#.*$", "", text))
    mirror = (mirrors or ["http://deb.debian.org/debian"])[0].rstrip("/")
    signed = f"[signed-by={_KEYRING}]"
    return [
        f"deb {signed} {mirror} {suite} main",
        f"deb {signed} {mirror} {suite}-updates main",
        f"deb {signed} {mirror}-security {suite}-security main",
    ]


def apt_options() -> list[str]:
    """Return how this computer's apt uses the network: proxies, certificates, timeouts."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    return [line for line in dump.splitlines() if re.match(r'Acquire::(https?|Retries|Check-Valid)[^ ]* ".', line)]
