"""The file system of kube-web-view's image: Debian's Python, and wheels from PyPI."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from kubekeel.artifacts.errors import ArtifactError
from kubekeel.debian import SUITE, apt_options, sources

VERSION = "21.2.0"
USER = "65532:65532"
ENTRYPOINT = ("/usr/bin/python3", "-m", "kube_web")

_REQUIREMENTS = Path(__file__).resolve().parents[2] / "files/web_view/requirements.txt"
_PYTHON = "3.11"
_PLATFORMS = {"amd64": "x86_64", "arm64": "aarch64"}
_NOT_NEEDED = (
    *("dev", "tmp", "var", "etc/apt", "etc/dpkg"),
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/bug"),
)


def key(arch: str) -> str:
    """What the file system depends on, beside what Debian's archive holds."""
    made_of = f"{arch} {SUITE} {_PYTHON} {_NOT_NEEDED}".encode() + _REQUIREMENTS.read_bytes()
    return sha256(made_of).hexdigest()


def root_filesystem(arch: str, destination: Path) -> None:
    """Fill the empty folder `destination`; ArtifactError where a tool is missing or fails."""
    if not shutil.which("mmdebstrap"):
        raise ArtifactError("kube-web-view: mmdebstrap is missing; run 'apt-get install mmdebstrap'")
    _unpack_python(arch, destination)
    for name in _NOT_NEEDED:
        shutil.rmtree(destination / name, ignore_errors=True)
    for left_over in destination.glob("usr/bin/dpkg*"):
        left_over.unlink()
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
    machine = _PLATFORMS[arch]
    _run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-compile", "--no-deps", "--only-binary=:all:", "--require-hashes"),
            *("--implementation=cp", f"--python-version={_PYTHON}"),
            *(f"--platform={tag}_{machine}" for tag in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")),
            f"--target={site}",
            f"--requirement={_REQUIREMENTS}",
        ]
    )
    # It holds scripts for the Python that installed them.
    shutil.rmtree(site / "bin", ignore_errors=True)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "; ".join(done.stderr.strip().splitlines()[-3:])
        raise ArtifactError(f"kube-web-view: {command[0]} failed ({said}); look at its messages, then run again")
