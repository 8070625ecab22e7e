"""Members of etcd."""

from __future__ import annotations

from kubekeel.cluster import Node
from kubekeel.membership import Member, OnDisk

ADDRESSES = {name: f"192.0.2.{number}" for number, name in enumerate(("m", "a", "b", "c", "d"), start=1)}


def node(name: str, address: str = "") -> Node:
    return Node(name, address or ADDRESSES[name], "amd64", frozenset({"etcd"}))


def member(name: str, healthy: bool = True, learner: bool = False, address: str = "", started: bool = True) -> Member:
    url = f"https://{address or ADDRESSES[name]}:2380"
    return Member(f"id-{name}", name if started else "", url, learner, healthy)


ONE, TWO, FOUR = ({name: ADDRESSES[name] for name in names} for names in ("m", "ma", "mabc"))


def unhealthy(name: str, **other: object) -> Member:
    return member(name, healthy=False, **other)  # type: ignore[arg-type]


BLANK, SERVED = OnDisk(data=False), OnDisk(data=True)
