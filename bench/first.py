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
from lab.lab import Lab
from lab.shape import Node

_ROUNDS = 3
_INCOMING = "/opt/kubekeel/incoming"
_GUNZIP = f"cd {_INCOMING} && for file in *; do gunzip <$file >$file.unpacked || exit 1; done"


@dataclass(frozen=True)
class Sent:
    """Bytes to a host: all of the first run's, its packed files' alone, and all of the second run's."""

    bytes: int
    packed: int
    again: int


@dataclass(frozen=True)
class Sending:
    """Seconds to send the same packed files to the same hosts, the median of some rounds.

    Kubekeel sends without a check (`plain`) and with a check of each sha256; scp without and with gunzip (`unpacked`).
    """

    plain: float
    checked: float
    scp: float
    unpacked: float


@dataclass(frozen=True)
class First:
    """The measurements in the lab.

    `split` divides the first deploy's `seconds`; `ready` are the seconds from its end until everything is available.
    `again` is a run with nothing to do, and `bare` is pyinfra that runs `true` on the same hosts: medians.
    """

    seconds: float
    split: dict[str, float]
    ready: float
    machines_cpu: float
    sending: Sending
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
    used = load.seconds(lab.group)
    first = _deploy(lab)
    used = load.seconds(lab.group) - used
    ready = _wait_until_available(lab)
    rounds = nothing_to_do(lambda: _deploy(lab), lambda: run.bare(lab.keeper, lab.environment, lab.inventory), _ROUNDS)
    again = rounds.deploy
    loads = supplied.read(run.output(["python", "-m", "bench.supplied", str(lab.inventory)], lab.environment))
    return First(
        seconds=first.seconds,
        split=first.split(),
        ready=ready,
        machines_cpu=used,
        sending=_send(lab, loads),
        sent={name: Sent(cost.sent, loads[name].bytes, again.hosts[name].sent) for name, cost in first.hosts.items()},
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


def _send(lab: Lab, loads: dict[str, Load]) -> Sending:
    return Sending(*map(median, zip(*(_send_once(lab, loads) for _ in range(_ROUNDS)), strict=True)))


def _send_once(lab: Lab, loads: dict[str, Load]) -> tuple[float, float, float, float]:
    record = run.pyinfra(lab.keeper, lab.environment, lab.directory, str(lab.inventory), "bench/send.py")
    took = {step.name: step.end - step.begin for step in record.steps}
    targets = [(node, loads[node.name]) for node in lab.shape.nodes]
    _clear(lab)
    began = time.monotonic()
    run.at_once([_scp(lab, node, load) for node, load in targets])
    scp = time.monotonic() - began
    run.at_once([[*lab.ssh, node.address, _GUNZIP] for node, _ in targets])
    unpacked = time.monotonic() - began
    _clear(lab)
    return took["send"], took["send and check"], scp, unpacked


def _clear(lab: Lab) -> None:
    run.at_once([[*lab.ssh, node.address, f"find {_INCOMING} -type f -delete"] for node in lab.shape.nodes])


def _scp(lab: Lab, node: Node, load: Load) -> list[str]:
    at = lab.ssh.index("ssh")
    return [*lab.ssh[:at], "scp", "-q", *lab.ssh[at + 1 :], *load.packed, f"{node.address}:{_INCOMING}/"]
