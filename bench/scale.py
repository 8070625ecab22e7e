"""Runs over more and more light machines, and the adding of one more."""

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
    """A run: what it took, and how much processor time this computer spent on playing the hosts."""

    seconds: float
    machines_cpu: float
    commands: int
    changes: int
    memory: int


@dataclass(frozen=True)
class Size:
    """What a cluster of so many hosts told; `added` are seconds of one host more, with another one off."""

    hosts: int
    files: Cost
    nothing: Cost
    one_file: Cost
    added: list[float]

    @property
    def adding(self) -> float:
        return median(self.added)


def measure(folder: Path, sizes: Sequence[int] = SIZES) -> list[Size]:
    """On a new fleet in `folder`, gone afterwards, that grows from size to size."""
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
    """Add a host to a cluster of `size`, again and again, while the last one of those is off."""
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
