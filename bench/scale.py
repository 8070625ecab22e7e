"""Measures runs over growing numbers of light machines, and the addition of one more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench import load, profile
from bench.fleet import Fleet, nodes
from bench.profile import Profile
from bench.record import Record
from bench.rounds import nothing_to_do

SIZES = (3, 10, 30, 100, 300)
PROFILED = 100
_TRIES = 3
# Larger sizes run once, since a run takes minutes.
_REPEATED = 100
_CHANGED = "var/lib/kubelet/config.yaml"


@dataclass(frozen=True)
class Cost:
    """The costs of a run; `commands`, `changes` and `sent` (bytes) are those of the host with the most.

    `control_cpu` is the processor time of the run itself, `machines_cpu` of the light machines on this computer.
    """

    seconds: float
    control_cpu: float
    machines_cpu: float
    commands: int
    changes: int
    sent: int
    memory: int


@dataclass(frozen=True)
class Size:
    """The measurements of a cluster of this size.

    `bare` has the seconds of pyinfra that runs `true` on the same hosts, `added` the seconds to add a host while
    another one is off.
    """

    hosts: int
    files: Cost
    nothing: Cost
    bare: float
    one_file: Cost
    added: list[float]

    @property
    def adding(self) -> float:
        return median(self.added)


@dataclass(frozen=True)
class Scale:
    """The measurements of all sizes, and a profile of the run with nothing to do at one size."""

    sizes: tuple[Size, ...]
    profile: Profile

    def computed(self, hosts: int, of: Callable[[Size], float]) -> float:
        """Return `of` for this number of hosts on the straight line through the two largest sizes."""
        below, above = self.sizes[-2:]
        slope = (of(above) - of(below)) / (above.hosts - below.hosts)
        return of(above) + slope * (hosts - above.hosts)


def measure(folder: Path, sizes: Sequence[int] = SIZES, profiled: int = PROFILED) -> Scale:
    """Measure on a new fleet in `folder` that grows from size to size, and remove it."""
    fleet = Fleet(folder)
    fleet.up()
    try:
        return _measure(fleet, sizes, profiled)
    finally:
        fleet.down()


def _measure(fleet: Fleet, sizes: Sequence[int], profiled: int) -> Scale:
    found = []
    for before, size in zip((0, *sizes), sizes, strict=False):
        fleet.power_on(nodes(size)[before:])
        found.append(_size(fleet, size))
        if size == profiled:
            profiling = profile.measure(fleet, size)
    return Scale(tuple(found), profiling)


def _size(fleet: Fleet, size: int) -> Size:
    used: list[float] = []

    def deploy() -> Record:
        record, machines_cpu = _deploy(fleet, size)
        used.append(machines_cpu)
        return record

    files = _cost(deploy(), used[-1])
    rounds = nothing_to_do(deploy, lambda: fleet.bare(size), _TRIES if size <= _REPEATED else 1)
    quiet = replace(_cost(rounds.deploy, median(used[1:])), changes=rounds.changes)
    fleet.change(nodes(size), _CHANGED)
    one_file = _cost(deploy(), used[-1])
    return Size(size, files, quiet, rounds.bare, one_file, list(_add(fleet, size)))


def _add(fleet: Fleet, size: int) -> Iterator[float]:
    """Add a host to a cluster of `size` several times, while the cluster's last host is off; yield the seconds."""
    master, *_, off, new = nodes(size + 1)
    # Only a member of etcd can reserve a subnet for the new host.
    limits = ("--limit", new.name, "--limit", master.name)
    fleet.power_off(off)
    for _ in range(_TRIES):
        fleet.power_on([new])
        yield fleet.deploy(size + 1, *limits).seconds
        fleet.wipe(new)
    fleet.power_on([off])


def _deploy(fleet: Fleet, size: int) -> tuple[Record, float]:
    """A run, and the processor time that this computer spent on playing the hosts."""
    used = load.seconds(fleet.group)
    record = fleet.deploy(size)
    return record, load.seconds(fleet.group) - used


def _cost(record: Record, machines_cpu: float) -> Cost:
    return Cost(
        seconds=record.seconds,
        control_cpu=record.cpu,
        machines_cpu=machines_cpu,
        commands=record.most_commands,
        changes=record.changes,
        sent=record.most_sent,
        memory=record.memory,
    )
