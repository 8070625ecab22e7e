"""The settings of group_data/all.py for tests without a lab, so that a new setting needs no edit in tests."""

from __future__ import annotations

import runpy
from pathlib import Path

from kubekeel.cluster import SETTINGS as NAMES

_defaults = runpy.run_path(str(Path(__file__).resolve().parents[1] / "group_data/all.py"))
SETTINGS: dict[str, object] = {name: _defaults[name] for name in NAMES if name in _defaults} | {"state_dir": ""}
