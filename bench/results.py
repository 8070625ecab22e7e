"""What all parts measured, kept beside the table so that one part can be measured again."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from bench.first import First, Sending, Sent
from bench.footprint import Footprint
from bench.kubeadm import Times
from bench.scale import Cost, Size


@dataclass(frozen=True)
class Results:
    """The parts that were measured so far, and where and when the last one was."""

    measured: str = ""
    computer: str = ""
    first: First | None = None
    kubeadm: Times | None = None
    scale: tuple[Size, ...] = ()

    def dated(self) -> Results:
        """These, measured here and now."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        computer = f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, {platform.machine()}"
        return replace(self, measured=date.today().isoformat(), computer=computer)

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> Results:
        """The results in `file`; none where there is not a file."""
        if not file.exists():
            return cls()
        told = json.loads(file.read_text())
        return cls(
            told["measured"],
            told["computer"],
            _first(told["first"]) if told["first"] else None,
            Times(**told["kubeadm"]) if told["kubeadm"] else None,
            tuple(map(_size, told["scale"])),
        )


def _first(told: dict[str, Any]) -> First:
    return First(
        **{
            **told,
            "sending": Sending(**told["sending"]),
            "sent": {name: Sent(**each) for name, each in told["sent"].items()},
            "footprints": {
                name: [Footprint(**each) for each in told["footprints"][name]] for name in told["footprints"]
            },
        }
    )


def _size(told: dict[str, Any]) -> Size:
    costs = {name: Cost(**told[name]) for name in ("files", "nothing", "one_file")}
    return Size(**{**told, **costs})
