"""Defragmenting: every member once, the leader last, also if another one leads meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from operations import room
from tests.hosts import cluster


@dataclass(eq=False)
class Member:
    """A member's host; the first of `etcd` leads until it is defragmented, and then the next one."""

    name: str
    etcd: list[Member] = field(default_factory=list, repr=False)
    defragmented: int = 0
    state: Any = None

    def get_fact(self, fact: type) -> bool:
        assert fact is room.Leads
        first, *others = self.etcd
        return self is (others[0] if first.defragmented and others else first)

    def noop(self, why: str) -> None:
        """Do nothing."""


@pytest.mark.parametrize("names", ["m", "mab"])
def test_each_member_is_defragmented_once_and_who_led_at_first_comes_last(
    monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    hosts = [Member(name) for name in names]
    run, order = object(), list[str]()
    for each in hosts:
        each.etcd, each.state = hosts, run
    monkeypatch.setattr(room, "hosts_of", lambda _: hosts, raising=False)
    monkeypatch.setattr(room, "node_of", lambda _: SimpleNamespace(roles={"etcd"}), raising=False)
    for leader in (False, True):
        for each in hosts:
            monkeypatch.setattr(room, "host", each)
            monkeypatch.setattr(room, "reported", lambda _, command: [command])
            commands = [each.get_raw_value() for each in room.defragment._inner(leader=leader, cluster=cluster())]
            if any(command.endswith("defrag") for command in commands):
                each.defragmented += 1
                order.append(each.name)
    assert order == [*names[1:], names[0]]
