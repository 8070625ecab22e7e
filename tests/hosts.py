"""Hosts as a look finds them: fit, or with a fault."""

from __future__ import annotations

from ipaddress import IPv4Network

from kubekeel.cluster import Cluster, load
from kubekeel.files import Directory, Entry, File, Link, Seen
from kubekeel.machine import Machine
from kubekeel.preflight import COMMANDS, Brought, HostSeen, Listener, Looks, Route, Unseen
from tests.settings import SETTINGS

ADDRESSES = {"m": "192.0.2.1", "a": "192.0.2.2", "b": "192.0.2.3"}


def cluster(etcd: str = "m", **settings: object) -> Cluster:
    return load(
        {"etcd": [*etcd], "masters": ["m"], "minions": ["a", "b"]},
        {name: {"address": address} for name, address in ADDRESSES.items()},
        {**SETTINGS, "cluster_name": "test", "artifact_source": "source", "dashboard": None, **settings},
    )


def machine(name: str) -> Machine:
    return Machine(
        hostname=name,
        arch="amd64",
        cgroup_v2=True,
        lowers_oom_score=True,
        kernel_settings=True,
        conntrack_limits=True,
        overlay_snapshots=True,
        resolv_conf="/etc/resolv.conf",
        memory=1700 if name == "m" else 700,
    )


def fit(name: str) -> HostSeen:
    """Return a host that just meets the requirements."""
    return HostSeen(
        machine=machine(name),
        kernel="Linux 5.13.0-1-generic",
        system="Some Linux 1",
        systemd=248,
        controllers=frozenset({"cpu", "cpuset", "io", "memory", "pids"}),
        commands=frozenset({*COMMANDS, "apt-get"}),
        swaps=(),
        disks={"/opt/kubekeel": 1024, "/var/lib/containerd": 2048},
        listeners=(Listener("0.0.0.0", 22, "sshd, process 1"), Listener("[::]", 22, "sshd, process 1")),
        clock_off=9.9,
        machine_id=f"id of {name}",
        product_uuid=f"uuid of {name}",
        addresses=frozenset({ADDRESSES[name], "172.17.0.1"}),
        routes=(route("192.0.2.0/24"), route("172.17.0.0/16", device="docker0")),
        sources={},
        installed=False,
    )


def route(network: str, gateway: str = "", device: str = "eth0") -> Route:
    return Route(IPv4Network(network), device, gateway)


def brought(**fields: object) -> dict[str, object]:
    return {"brought": Brought(**fields)}  # type: ignore[arg-type]


def looks(**changed: HostSeen | Unseen) -> Looks:
    return {name: fit(name) for name in ADDRESSES} | changed


OLD = 100.0
"""The time of the last change of files of `as_described`."""


def as_described(tree: dict[str, Entry], changed: float = OLD) -> dict[str, Seen]:
    """Return how a look sees a host that has `tree`."""
    seen = {}
    for path, entry in tree.items():
        match entry:
            case File(mode=mode, owner=owner):
                seen[path] = Seen("f", mode, owner, changed, digest=entry.digest)
            case Directory(mode, owner):
                seen[path] = Seen("d", mode, owner, changed)
            case Link(target):
                seen[path] = Seen("l", 0o777, "root:root", changed, target=target)
    return seen
