"""Measurements between hosts and of etcd's disks: a table, faults and warnings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kubekeel.cluster import Cluster, Node
from kubekeel.preflight.network import reached
from kubekeel.preflight.seen import Finding

# etcd's documentation wants the 99th percentile of its writes to disk below this, in ms.
_SLOW_DISK = 10.0
# In ms. A message between members of etcd and its answer must fit into a heartbeat, 200 ms here.
_FAR = 100.0


@dataclass(frozen=True)
class Way:
    """The way from one host to another: round trip in ms, the device's MTU, and the largest packet that arrived.

    `ports` has the result of each TCP port: "reached" (also if nothing listens yet), "lost" or "barred".
    Values that could not be measured are None, or missing.
    """

    mtu: int = 0
    round_trip: float | None = None
    packet: int | None = None
    ports: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """One host's measurements: its ways by the other hosts' names, and its writes to etcd's disk, in ms."""

    ways: Mapping[str, Way] = field(default_factory=dict)
    syncs: Sequence[float] = ()

    @property
    def slow_sync(self) -> float | None:
        """The 99th percentile of the writes, in ms."""
        return sorted(self.syncs)[len(self.syncs) * 99 // 100] if self.syncs else None


Measures = Mapping[str, Measured]


def tried(node: Node, cluster: Cluster) -> list[int]:
    """Return the TCP ports on which others must reach a node; UDP ports do not answer a probe."""
    return [port for protocol, port, _ in reached(node, cluster) if protocol == "tcp"]


def table(measures: Measures) -> list[str]:
    """Return the measurements as a table, one line for each way and each disk."""
    rows = [("FROM", "TO", "ROUND TRIP", "LARGEST PACKET", "TCP PORTS", "ETCD WRITES")]
    for name, measured in measures.items():
        if measured.slow_sync is not None:
            rows.append((name, "its disk", "", "", "", f"{measured.slow_sync:.1f} ms"))
        for other, way in measured.ways.items():
            trip = "?" if way.round_trip is None else f"{way.round_trip:.1f} ms"
            packet = "?" if way.packet is None else f"{way.packet} of {way.mtu}"
            rows.append((name, other, trip, packet, _ports(way), ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _ports(way: Way) -> str:
    barred = [f"{port} {how}" for port, how in way.ports.items() if how != "reached"]
    if barred or not way.ports:
        return ", ".join(barred) or "?"
    return f"{', '.join(map(str, way.ports))} reached"


def measure_faults(measures: Measures) -> Iterator[tuple[str, Finding]]:
    """Yield the faults that prevent hosts from being a cluster, each with the host's name."""
    for name, measured in measures.items():
        for other, way in measured.ways.items():
            if closed := [str(port) for port, how in way.ports.items() if how != "reached"]:
                remedy = f"let {name} through in the firewalls of {other} and between them"
                yield name, (f"does not reach ports of {other}", ", ".join(closed), remedy)
            if way.packet is not None and way.packet < way.mtu:
                value = f"{way.packet} of {way.mtu} bytes"
                remedy = f"set the MTU of that device to {way.packet}, or repair the network between them"
                yield name, (f"sends {other} packets that do not arrive", value, remedy)


def measure_warnings(cluster: Cluster, measures: Measures) -> Iterator[tuple[str, Finding]]:
    members = {node.name for node in cluster.etcd}
    for name, measured in measures.items():
        if measured.slow_sync is not None and measured.slow_sync > _SLOW_DISK:
            value = f"99 of 100 within {measured.slow_sync:.1f} ms"
            yield (
                name,
                ("has a slow disk for etcd's data", value, f"etcd needs {_SLOW_DISK:.0f} ms; use an SSD"),
            )
        for other, way in measured.ways.items():
            if {name, other} <= members and (way.round_trip or 0) > _FAR:
                value = f"{way.round_trip:.0f} ms"
                yield name, (f"is far from {other}, another member of etcd", value, "place members close together")


def ways(lines: Iterable[str], names: Mapping[str, str]) -> Measured:
    """Parse the output of measure.sh on a host; `names` has the other hosts' names by address."""
    numbers: dict[str, dict[str, float]] = {name: {} for name in names.values()}
    ports: dict[str, dict[int, str]] = {name: {} for name in names.values()}
    syncs = []
    for line in lines:
        match line.split():
            case ["sync", seconds]:
                syncs.append(float(seconds) * 1000)
            case ["port", address, port, how] if address in names:
                ports[names[address]][int(port)] = how
            case [word, address, number] if address in names:
                numbers[names[address]][word] = float(number)
    found = {}
    for name, measured in numbers.items():
        packet = measured.get("packet")
        found[name] = Way(
            mtu=int(measured.get("size", 0)),
            round_trip=measured.get("round_trip"),
            packet=None if packet is None else int(packet),
            ports=dict(sorted(ports[name].items())),
        )
    return Measured(found, tuple(syncs))
