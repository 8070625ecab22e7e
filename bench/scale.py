"""Measures runs over growing numbers of light machines, and the addition of one more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import load
from bench.fleet import Fleet, nodes
from bench.record import Record

SIZES = (3, 10, 30, 100)
_TRIES = 3
_CHANGED = "var/lib/kubelet/config.yaml"


@dataclass(frozen=True)
class Cost:
    """A run's costs, with the processor time that the light machines took on this computer."""

    seconds: float
    machines_cpu: float
    commands: int
    changes: int
    memory: int


@dataclass(frozen=True)
class Size:
    """The measurements of a cluster of this size; `added` has the seconds to add a host while another one is off."""

    hosts: int
    files: Cost
    nothing: Cost
    one_file: Cost
    added: list[float]

    @property
    def adding(self) -> float:
        return median(self.added)


def measure(folder: Path, sizes: Sequence[int] = SIZES) -> list[Size]:
    """Measure on a new fleet in `folder` that grows from size to size, and remove it."""
    fleet = Fleet(folder)
    fleet.up()
    try:
        return [_measure(fleet, size, before) for before, size in zip((0, *sizes), sizes, strict=False)]
    finally:
        fleet.down()


def _measure(fleet: Fleet, size: int, before: int) -> Size:
    all_nodes = nodes(size)
    fleet.power_on(all_nodes[before:])
    files = _cost(fleet, size)
    nothing = _cost(fleet, size)
    fleet.change(all_nodes, _CHANGED)
    one_file = _cost(fleet, size)
    return Size(size, files, nothing, one_file, _add(fleet, size))


def _add(fleet: Fleet, size: int) -> list[float]:
    """Add a host to a cluster of `size` several times, while the cluster's last host is off; return the seconds."""
    off, new = nodes(size + 1)[-2:]
    seconds = []
    fleet.power_off(off)
    for _ in range(_TRIES):
        fleet.power_on([new])
        seconds.append(fleet.deploy(size + 1, "--limit", new.name).seconds)
        fleet.wipe(new)
    fleet.power_on([off])
    return seconds


def _cost(fleet: Fleet, size: int) -> Cost:
    used = load.seconds(fleet.group)
    record = fleet.deploy(size)
    return Cost(
        seconds=record.seconds,
        machines_cpu=load.seconds(fleet.group) - used,
        commands=_most_commands(record),
        changes=record.changes,
        memory=record.memory,
    )


def _most_commands(record: Record) -> int:
    return max(cost.commands for cost in record.hosts.values())
