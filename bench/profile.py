"""The processor time of the control machine in a run with nothing to do, sampled by py-spy."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.fleet import Fleet

_RATE = 50
"""Samples in a second of processor time: py-spy ignores waiting threads."""
_SHOWN = 12
# The last function of a stack with its file, and without the line where it begins.
_LAST = re.compile(r"(?P<function>[^;]+) \((?P<file>[^;]+?)(:\d+)?\) (?P<count>\d+)$")
_OURS = ("run", "operations", "tasks", "kubekeel", "bench")


@dataclass(frozen=True)
class Profile:
    """The shares of packages and of functions in all samples without their callees, the largest first."""

    hosts: int
    samples: int
    packages: dict[str, float]
    functions: dict[str, float]


def measure(fleet: Fleet, size: int) -> Profile:
    """Profile one more run with nothing to do on the first `size` machines."""
    file = fleet.folder / "profile.txt"
    options = ("--format=raw", f"--rate={_RATE}", "--function", "--nonblocking", f"--output={file}")
    fleet.deploy(size, under=("py-spy", "record", *options, "--"))
    return read(size, file.read_text().splitlines())


def read(hosts: int, lines: Iterable[str]) -> Profile:
    """Parse lines like `main (deploy.py:1);see (operations/look.py:32) 12`: a stack and its number of samples."""
    packages: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in lines:
        # A stack may be empty.
        if match := _LAST.search(line):
            file, count = match["file"].rpartition("/site-packages/")[2], int(match["count"])
            packages[_package(file)] += count
            functions[f"{match['function']} ({file})"] += count
    seen = packages.total()

    def shares(counter: Counter[str]) -> dict[str, float]:
        return {name: count / seen for name, count in counter.most_common(_SHOWN)}

    return Profile(hosts, seen, shares(packages), shares(functions))


def _package(file: str) -> str:
    first = Path(file).parts[0].removesuffix(".py")
    if first in _OURS:
        return "Kubekeel"
    return "Python" if first in sys.stdlib_module_names or first.startswith("<frozen") else first
