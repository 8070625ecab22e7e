"""The lab's needs on this computer: root, Debian packages, the project's virtual environment."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.errors import LabError
from lab.owner import as_owner
from lab.shape import PROJECT

VENV = PROJECT / ".venv"
# uv installs the packages that uv.lock pins. A uv of the user's own is as good.
UV = ("--require-hashes", "-r", str(PROJECT / "lab/uv.txt"))

# Debian packages by the command or file that they provide.
MACHINES = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-agent": "openssh-client",
    "nsenter": "util-linux",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
VIRTUAL = {"mkfs.ext4": "e2fsprogs"}
# Only runc needs a C compiler.
BUILD = {
    "gcc": "gcc",
    "pkg-config": "pkg-config",
    "/usr/include/stdlib.h": "libc6-dev",
    "/usr/include/seccomp.h": "libseccomp-dev",
}
BROWSER = {"chromium": "chromium", "chromedriver": "chromium-driver"}

_KEPT = ("KUBEKEEL_", "SSL_CERT_", "PIP_", "UV_", "GOPROXY", "GOFLAGS", "GONOSUMDB", "GOSUMDB")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")


def become_root(arguments: Sequence[str], module: str = "lab") -> None:
    """Restart this program as root through sudo, unless it is root already."""
    if os.geteuid() == 0:
        return
    if not shutil.which("sudo"):
        raise LabError(f"the {module} needs root to make namespaces; run it as root, or install sudo")
    kept = [name for name in os.environ if name.startswith(_KEPT) or name.lower() in _PROXIES]
    command = ["sudo", f"--preserve-env={','.join(kept)}", sys.executable, "-m", module, *arguments]
    os.execvp("sudo", command)


def install(wanted: Mapping[str, str]) -> None:
    """Install the Debian packages of missing commands and files."""
    missing = sorted({package for item, package in wanted.items() if not _present(item)})
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise LabError(f"{', '.join(missing)}: missing, and there is no apt-get; install them, or use Debian or Ubuntu")
    if os.geteuid() != 0:
        raise LabError(f"{', '.join(missing)}: missing; install them with `sudo apt-get install {' '.join(missing)}`")
    print(f"installing the Debian packages {', '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "-qq", "update"], environment)
    _run(["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *missing], environment)


def install_browser() -> None:
    """Install Chromium for the dashboard's test, on Debian only: Ubuntu has just a snap of it."""
    if platform.freedesktop_os_release().get("ID") == "debian":
        install(BROWSER)


def environment(*groups: str) -> None:
    """Make the project's virtual environment from uv.lock, with these dependency groups, as the owner of the clone."""
    stamp = VENV / "-".join((".kubekeel", *groups))
    wanted = hashlib.sha256(
        b"".join((PROJECT / name).read_bytes() for name in ("pyproject.toml", "uv.lock"))
    ).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("making the virtual environment .venv", flush=True)
    if not (VENV / "bin" / "python").exists():
        _make_venv()
    uv = shutil.which("uv") or str(VENV / "bin" / "uv")
    if not Path(uv).exists():
        _run(as_owner([str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", *UV]))
    # --inexact: uv itself may be in there.
    options = ("--quiet", "--frozen", "--inexact", f"--project={PROJECT}", f"--python={VENV / 'bin' / 'python'}")
    _run(as_owner([uv, "sync", *options, *(f"--group={group}" for group in groups)]))
    _run(as_owner(["sh", "-c", 'printf %s "$1" >"$2"', "sh", wanted, str(stamp)]))


def _make_venv() -> None:
    import importlib.util

    if not importlib.util.find_spec("ensurepip"):
        install({"/none": f"python{sys.version_info.major}.{sys.version_info.minor}-venv"})
    _run(as_owner([sys.executable, "-m", "venv", "--clear", str(VENV)]))


def _present(item: str) -> bool:
    return Path(item).exists() if item.startswith("/") else bool(shutil.which(item))


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, cwd=PROJECT
    )
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise LabError(f"`{' '.join(command)}` failed (status {done.returncode}):\n{last}")
