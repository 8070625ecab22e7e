"""Installation of wheels from the package index into a folder, with pip or uv."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubekeel.artifacts.errors import ArtifactError

_NEWEST_GLIBC = "manylinux_2_28"
_OLDER = ("manylinux_2_17", "manylinux2014")


@dataclass(frozen=True)
class Python:
    """The Python that runs the wheels: its version, like 3.11, and the kernel's name of its processor."""

    version: str
    machine: str


def install(requirements: Path, folder: Path, *, what: str, remedy: str, python: Python | None = None) -> None:
    """Install pinned wheels, each checked against its hash, for this Python or for `python`.

    Raises ArtifactError with `what`, the name of the package, and `remedy`.
    """
    done = subprocess.run(
        [
            *_installer(what, remedy, python),
            *("--no-deps", "--only-binary=:all:", "--require-hashes"),
            *(f"--target={folder}", f"--requirement={requirements}"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ArtifactError(f"{what}: cannot be installed ({done.stderr.strip().rpartition(chr(10))[2]}); {remedy}")


def _installer(what: str, remedy: str, python: Python | None) -> Sequence[str]:
    if importlib.util.find_spec("pip"):
        return [
            *(sys.executable, "-m", "pip", "install"),
            *("--quiet", "--disable-pip-version-check", "--no-compile"),
            *(_pip_target(python) if python else ()),
        ]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", f"--python={sys.executable}", *(_uv_target(python) if python else ())]
    raise ArtifactError(f"{what}: cannot be installed (neither pip nor uv is on this computer); {remedy}")


def _pip_target(python: Python) -> Sequence[str]:
    platforms = (f"--platform={tag}_{python.machine}" for tag in (_NEWEST_GLIBC, *_OLDER))
    return ["--implementation=cp", f"--python-version={python.version}", *platforms]


def _uv_target(python: Python) -> Sequence[str]:
    return [f"--python-version={python.version}", f"--python-platform={python.machine}-{_NEWEST_GLIBC}"]
