"""The outer rings of tests, which run on a lab's cluster only, since they may harm it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lab.errors import LabError
from lab.keeper import network_users
from lab.lab import Lab

_TESTS = Path(__file__).resolve().parent
OUTER = (_TESTS / "cluster", _TESTS / "vm", _TESTS / "chaos")


def among(paths: Iterable[Path]) -> list[str]:
    """Return the outer rings that overlap with `paths`, by name."""
    wanted = [path.resolve() for path in paths]

    def meets(ring: Path) -> bool:
        return any(ring.is_relative_to(path) or path.is_relative_to(ring) for path in wanted)

    return [f"tests/{ring.name}" for ring in OUTER if meets(ring)]


def why_not(*, only_collected: bool) -> str | None:
    """Return why this process may not run (or collect) the outer rings; None if it may."""
    if not os.environ.get("KUBEKEEL_LAB_DIR"):
        return "KUBEKEEL_LAB_DIR names no lab"
    lab = Lab.here()
    try:
        lab.shape  # noqa: B018 - LabError where there is no lab
        if only_collected or os.getpid() in network_users(lab.keeper):
            return None
    except LabError as error:
        return str(error)
    return f"this process is not in the network of the lab in {lab.directory}"
