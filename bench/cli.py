"""The command `python3 -m bench`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from lab import bootstrap
from lab.errors import LabError
from lab.shape import PROJECT

DOCS = PROJECT / "docs"
_PARTS = ("first", "kubeadm", "scale", "pull", "upgrade")


def main(arguments: Sequence[str]) -> int:
    """Measure, and write the table and the plot; return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m bench", description=sys.modules["bench"].__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(_PARTS)}")
    parts = parser.parse_args(arguments).parts or _PARTS
    if unknown := set(parts) - set(_PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    try:
        bootstrap.become_root(arguments, "bench")
        bootstrap.install({**bootstrap.MACHINES, **bootstrap.BUILD})
        bootstrap.environment("bench")
    except LabError as fault:
        print(f"bench: {fault}", file=sys.stderr)
        return 1
    _in_venv(arguments)
    return max([_measured(part) for part in parts])


def _in_venv(arguments: Sequence[str]) -> None:
    """Restart this program in the project's virtual environment."""
    python = bootstrap.VENV / "bin" / "python"
    if Path(sys.prefix) != bootstrap.VENV:
        os.execv(python, [str(python), "-m", "bench", *arguments])


def _measured(part: str) -> int:
    try:
        _measure(part)
    except LabError as fault:
        print(f"bench: {part}: {fault}", file=sys.stderr, flush=True)
        return 1
    return 0


def _measure(part: str) -> None:
    from bench import first, kubeadm, pull, report, scale, upgrade
    from bench.results import Results

    folder = Path(os.environ.get("KUBEKEEL_BENCH_DIR") or PROJECT / ".bench").resolve() / part
    measures: dict[str, Callable[[Path], object]] = {
        "first": first.measure,
        "kubeadm": kubeadm.measure,
        "scale": scale.measure,
        "pull": pull.measure,
        "upgrade": upgrade.measure,
    }
    print(f"measuring {part}", flush=True)
    began = time.monotonic()
    measured = measures[part](folder)
    print(f"measured {part} in {time.monotonic() - began:.0f} s", flush=True)
    results = replace(Results.read(DOCS / "performance.json"), **{part: measured}).dated()
    results.write(DOCS / "performance.json")
    report.write(results, DOCS)
