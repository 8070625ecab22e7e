"""The settings of group_data/all.py, as tests without a lab have them: a new setting is no edit of theirs."""

from __future__ import annotations

import runpy
from pathlib import Path

from kubekeel.cluster import SETTINGS as NAMES

_given = runpy.run_path(str(Path(__file__).resolve().parents[1] / "group_data/all.py"))
SETTINGS: dict[str, object] = {name: _given[name] for name in NAMES if name in _given} | {"state_dir": ""}
