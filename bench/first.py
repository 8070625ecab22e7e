"""Measures the lab's three machines: the first deploy, a second run, bytes on the wire, units' footprints."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import footprint, load, run, supplied
from bench.footprint import Footprint
from bench.record import Record
from bench.rounds import nothing_to_do
from bench.supplied import Load
from kubekeel.artifacts import GZIP, ZSTD, Packing
from lab.lab import Lab
from lab.shape import Node

_ROUNDS = 3
_LONGEST = 8
_INCOMING = "/opt/kubekeel/incoming"


@dataclass(frozen=True)
class Sent:
    """Bytes to a host: all of the first run's, its packed files' alone, and all of the second run's."""

    bytes: int
    packed: int
    again: int


@dataclass(frozen=True)
class Sending:
    """Seconds to send the same packed files to the same hosts, the median of some rounds.

    Kubekeel sends without a check (`plain`) and with a check of each sha256.
    """

    plain: float
    checked: float
    scp: float


@dataclass(frozen=True)
class Unpacking:
    """The packed files of all hosts in bytes, and the seconds until all hosts have unpacked them, a median."""

    bytes: int
    seconds: float


@dataclass(frozen=True)
class First:
    """The measurements in the lab.

    `split` divides the first deploy's `seconds`, and `longest` has those of its longest operations. `ready` are the
    seconds from its end until everything is available.
    `again` is a run with nothing to do, and `bare` is pyinfra that runs `true` on the same hosts: medians.
    """

    seconds: float
    split: dict[str, float]
    longest: dict[str, float]
    ready: float
    machines_cpu: float
    sending: Sending
    unpacking: dict[str, Unpacking]
    sent: dict[str, Sent]
    again_seconds: float
    again_cpu: float
    again_changes: int
    again_commands: int
    bare_seconds: float
    memory: int
    footprints: dict[str, list[Footprint]]


def measure(folder: Path) -> First:
    """Measure on a new lab in `folder`, and remove it; this fills the cache of artifacts first."""
    lab = Lab(folder)
    lab.down()
    lab.up(masters=1, minions=2)
    try:
        run.output(["python", "-m", "lab.artifacts", str(lab.inventory), str(folder / "bin")], lab.environment)
        return _measure(lab)
    finally:
        lab.down()


def _measure(lab: Lab) -> First:
    # This packs them, too.
    loads = supplied.read(run.output(["python", "-m", "bench.supplied", str(lab.inventory)], lab.environment))
    used = load.seconds(lab.group)
    first = _deploy(lab)
    used = load.seconds(lab.group) - used
    ready = _wait_until_available(lab)
    rounds = nothing_to_do(lambda: _deploy(lab), lambda: run.bare(lab.keeper, lab.environment, lab.inventory), _ROUNDS)
    again = rounds.deploy
    plain, checked, scp, gzip, zstd = map(median, zip(*(_send_once(lab, loads) for _ in range(_ROUNDS)), strict=True))
    return First(
        seconds=first.seconds,
        split=first.split(),
        longest=first.longest(_LONGEST),
        ready=ready,
        machines_cpu=used,
        sending=Sending(plain, checked, scp),
        unpacking={"gzip": _unpacking(loads, GZIP, gzip), "zstd": _unpacking(loads, ZSTD, zstd)},
        sent={
            name: Sent(cost.sent, loads[name].bytes(ZSTD), again.hosts[name].sent) for name, cost in first.hosts.items()
        },
        again_seconds=again.seconds,
        again_cpu=again.cpu,
        again_changes=rounds.changes,
        again_commands=again.most_commands,
        bare_seconds=rounds.bare,
        memory=max(first.memory, again.memory),
        footprints={node.name: footprint.measure(lab, node) for node in lab.shape.nodes[:2]},
    )


def _deploy(lab: Lab) -> Record:
    return run.pyinfra(lab.keeper, lab.environment, lab.directory, str(lab.inventory), "deploy.py")


def _wait_until_available(lab: Lab) -> float:
    began = time.monotonic()
    for wanted in (("Ready", "nodes"), ("Available", "deployments"), ("Available", "apiservices")):
        condition, what = wanted
        run.output(
            lab.keeper.in_network(
                ["kubectl", "wait", "--timeout=300s", f"--for=condition={condition}", what, "--all", "-A"]
            ),
            lab.environment,
        )
    return time.monotonic() - began


def _unpacking(loads: dict[str, Load], packing: Packing, seconds: float) -> Unpacking:
    return Unpacking(sum(load.bytes(packing) for load in loads.values()), seconds)


def _send_once(lab: Lab, loads: dict[str, Load]) -> tuple[float, ...]:
    """Return the seconds of the fields of `Sending`, and to unpack by gzip and by zstd."""
    record = run.pyinfra(lab.keeper, lab.environment, lab.directory, str(lab.inventory), "bench/send.py")
    took = {step.name: step.end - step.begin for step in record.steps}
    _, gzip = _scp_and_unpack(lab, loads, GZIP)
    scp, zstd = _scp_and_unpack(lab, loads, ZSTD)
    return took["send"], took["send and check"], scp, gzip, zstd


def _scp_and_unpack(lab: Lab, loads: dict[str, Load], packing: Packing) -> tuple[float, float]:
    _clear(lab)
    began = time.monotonic()
    run.at_once([_scp(lab, node, loads[node.name].packed[packing.suffix]) for node in lab.shape.nodes])
    sent = time.monotonic()
    unpack = f"cd {_INCOMING} && for file in *; do {packing.unpack} $file >$file.unpacked || exit 1; done"
    run.at_once([[*lab.ssh, node.address, unpack] for node in lab.shape.nodes])
    unpacked = time.monotonic()
    _clear(lab)
    return sent - began, unpacked - sent


def _clear(lab: Lab) -> None:
    run.at_once([[*lab.ssh, node.address, f"find {_INCOMING} -type f -delete"] for node in lab.shape.nodes])


def _scp(lab: Lab, node: Node, files: list[str]) -> list[str]:
    at = lab.ssh.index("ssh")
    return [*lab.ssh[:at], "scp", "-q", *lab.ssh[at + 1 :], *files, f"{node.address}:{_INCOMING}/"]
