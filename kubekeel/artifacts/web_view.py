"""The file system of kube-web-view's image: Debian's Python, and wheels from PyPI."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from kubekeel.artifacts import pip
from kubekeel.artifacts.errors import ArtifactError
from kubekeel.debian import SUITE, apt_options, sources
from kubekeel.release import MACHINES

VERSION = "21.2.0"
USER = "65532:65532"
ENTRYPOINT = ("/usr/bin/python3", "-m", "kube_web")

_REQUIREMENTS = Path(__file__).resolve().parents[2] / "files/web_view/requirements.txt"
_PYTHON = "3.11"
_PLATFORMS = {arch: machine for machine, arch in MACHINES.items()}
# Only dpkg needs these, or people read them, or mmdebstrap copied them from this computer.
_NOT_NEEDED = (
    *("bin", "dev", "lib/systemd", "sbin", "tmp", "usr/libexec", "usr/sbin", "usr/share", "var"),
    *("etc/alternatives", "etc/apt", "etc/cron.daily", "etc/dpkg", "etc/fstab", "etc/logrotate.d", "etc/rmt"),
    *("etc/hostname", "etc/resolv.conf"),
)


def key(arch: str) -> str:
    """Return a digest of everything that decides the file system, except the content of Debian's archive."""
    made_of = [f"{arch} {SUITE}".encode(), _REQUIREMENTS.read_bytes(), Path(__file__).read_bytes()]
    return sha256(b"\0".join(made_of)).hexdigest()


def root_filesystem(arch: str, destination: Path) -> None:
    """Fill the empty folder `destination`; ArtifactError where a tool is missing or fails."""
    if not shutil.which("mmdebstrap"):
        raise ArtifactError("kube-web-view: mmdebstrap is missing; run 'apt-get install mmdebstrap'")
    _unpack_python(arch, destination)
    for unneeded in (*(destination / name for name in _NOT_NEEDED), *destination.glob("usr/bin/dpkg*")):
        _remove(unneeded)
    (destination / "usr/bin/python3").symlink_to(f"python{_PYTHON}")
    (destination / "tmp").mkdir(mode=0o1777)
    _install_wheels(arch, destination / f"usr/local/lib/python{_PYTHON}/dist-packages")


def _unpack_python(arch: str, destination: Path) -> None:
    # Unpacking alone needs neither root nor a processor of that architecture.
    _run(
        [
            *("mmdebstrap", "--quiet", "--mode=chrootless", "--variant=extract", "--format=directory"),
            f"--architectures={arch}",
            f"--include=python{_PYTHON}",
            *(f"--aptopt={option}" for option in apt_options()),
            *(SUITE, str(destination), *sources()),
        ]
    )


def _install_wheels(arch: str, site: Path) -> None:
    pip.install(
        _REQUIREMENTS,
        site,
        what=f"kube-web-view {VERSION}",
        remedy="check that this computer reaches the package index and run again, or set dashboard = None",
        python=pip.Python(_PYTHON, _PLATFORMS[arch]),
    )
    # Scripts for the Python that installed them, and what uv locks the folder with.
    for left_over in ("bin", ".lock"):
        _remove(site / left_over)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        messages = "; ".join(done.stderr.strip().splitlines()[-3:])
        raise ArtifactError(f"kube-web-view: {command[0]} failed ({messages}); correct that, then run again")
