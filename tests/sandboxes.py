"""The exposures of units that docs/security.md allows."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).parents[1] / "docs/security.md"
_ROW = re.compile(
    r"^\| (?P<units>`[a-z`, -]+`)(?P<setting>, with `[^|]*`)? +\| (?P<exposure>\d+\.\d) +\|", re.MULTILINE
)


def exposures() -> dict[str, tuple[float, bool]]:
    """Return the highest allowed exposure of each unit, and whether only a setting adds the unit."""
    return {
        unit: (float(row["exposure"]), bool(row["setting"]))
        for row in _ROW.finditer(_PAGE.read_text())
        for unit in re.findall(r"`([a-z-]+)`", row["units"])
    }
