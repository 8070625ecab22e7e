"""The measurements of all parts, saved beside the table, so that one part can be measured again."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from bench.first import First, Sending, Sent, Unpacking
from bench.footprint import Footprint
from bench.kubeadm import Times
from bench.profile import Profile
from bench.pull import Pull
from bench.scale import Cost, Scale, Size
from bench.upgrade import Away


@dataclass(frozen=True)
class Results:
    """The parts that were measured so far, and the computer and date of the last measurement."""

    measured: str = ""
    computer: str = ""
    first: First | None = None
    kubeadm: Times | None = None
    scale: Scale | None = None
    pull: Pull | None = None
    upgrade: Away | None = None

    def dated(self) -> Results:
        """Return these results with today's date and this computer."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        computer = f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, {platform.machine()}"
        return replace(self, measured=date.today().isoformat(), computer=computer)

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> Results:
        """Return the results in `file`; empty without a file."""
        if not file.exists():
            return cls()
        saved = json.loads(file.read_text())
        return cls(
            saved["measured"],
            saved["computer"],
            _first(saved["first"]) if saved["first"] else None,
            Times(**saved["kubeadm"]) if saved["kubeadm"] else None,
            _scale(saved["scale"]) if saved["scale"] else None,
            Pull(**saved["pull"]) if saved["pull"] else None,
            Away(**saved["upgrade"]) if saved["upgrade"] else None,
        )


def _first(saved: dict[str, Any]) -> First:
    return First(
        **{
            **saved,
            "sending": Sending(**saved["sending"]),
            "unpacking": {name: Unpacking(**each) for name, each in saved["unpacking"].items()},
            "sent": {name: Sent(**each) for name, each in saved["sent"].items()},
            "footprints": {
                name: [Footprint(**each) for each in saved["footprints"][name]] for name in saved["footprints"]
            },
        }
    )


def _scale(saved: dict[str, Any]) -> Scale:
    return Scale(tuple(map(_size, saved["sizes"])), Profile(**saved["profile"]))


def _size(saved: dict[str, Any]) -> Size:
    costs = {name: Cost(**saved[name]) for name in ("files", "nothing", "one_file")}
    return Size(**{**saved, **costs})
