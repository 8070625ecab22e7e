"""Copies of this clone, and what README says to install in one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.shape import PROJECT

_BLOCK = re.compile(r"Install the Python packages that Kubekeel needs.*?```\n(?P<ways>.*?)```", re.DOTALL)
_LEFT_OUT = shutil.ignore_patterns(".*", "pki", "__pycache__")


def copy(folder: Path) -> Path:
    """A clone in `folder` with the files of this one, without keys, environments and caches."""
    return Path(shutil.copytree(PROJECT, folder, ignore=_LEFT_OUT))


def ways() -> list[str]:
    """The ways to install that README names, each a line of shell."""
    block = _BLOCK.search((PROJECT / "README.md").read_text())
    assert block
    return [line.strip() for line in block["ways"].strip().splitlines()]


def install(way: str, clone: Path) -> None:
    """Install in a clone as README says, out of a lab's network where need be: that has no internet."""
    # uv may be in this clone's environment alone.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment["PATH"] += f":{PROJECT / '.venv/bin'}"
    done = subprocess.run(
        [*to_the_internet(), "sh", "-ec", way],
        cwd=clone, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def pyinfra() -> list[str]:
    """pyinfra as users of a clone start it, who are in its folder."""
    return ["sh", "-c", '. .venv/bin/activate && exec pyinfra "$@"', "sh"]


def to_the_internet() -> Sequence[str]:
    """What runs a command out of the lab's network, where there is an internet."""
    outside = os.environ.get("KUBEKEEL_OUTSIDE")
    return ("nsenter", f"--net={outside}", "--") if outside else ()


def download(folder: Path, *packages: str) -> None:
    """Debian's packages as files in a folder."""
    get = f"apt-get download -qq {' '.join(packages)}"
    command = [*to_the_internet(), "sh", "-c", f"{get} || {{ apt-get update -qq && {get}; }}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
