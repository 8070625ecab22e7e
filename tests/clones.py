"""Copies of this clone, and the installation that README describes."""

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
    """Return a copy of this clone in `folder`, without keys, environments and caches."""
    return Path(shutil.copytree(PROJECT, folder, ignore=_LEFT_OUT))


def changed(folder: Path, file: str, before: str, after: str) -> Path:
    """Return a copy of this clone in `folder`, with another text at one place of a file."""
    place = copy(folder) / file
    text = place.read_text()
    assert text.count(before) == 1, f"{before!r} is not once in {file}"
    place.write_text(text.replace(before, after))
    return folder


def ways() -> list[str]:
    """Return README's ways to install, each a line of shell."""
    block = _BLOCK.search((PROJECT / "README.md").read_text())
    assert block
    return [line.strip() for line in block["ways"].strip().splitlines()]


def install(way: str, clone: Path) -> None:
    """Install in a clone as README says; leave the lab's network for it, which has no internet."""
    # uv may be installed in this clone's environment only.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment["PATH"] += f":{PROJECT / '.venv/bin'}"
    done = subprocess.run(
        [*to_the_internet(), "sh", "-ec", way],
        cwd=clone, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def pyinfra() -> list[str]:
    """Return the command by which users start pyinfra in a clone's folder."""
    return ["sh", "-c", '. .venv/bin/activate && exec pyinfra "$@"', "sh"]


def to_the_internet() -> Sequence[str]:
    """Return the prefix that runs a command outside the lab's network, with internet access."""
    outside = os.environ.get("KUBEKEEL_OUTSIDE")
    return ("nsenter", f"--net={outside}", "--") if outside else ()


def download(folder: Path, *packages: str) -> None:
    """Download Debian packages into a folder."""
    get = f"apt-get download -qq {' '.join(packages)}"
    command = [*to_the_internet(), "sh", "-c", f"{get} || {{ apt-get update -qq && {get}; }}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
