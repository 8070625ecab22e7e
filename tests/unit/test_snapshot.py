"""The member that gives a snapshot, and the changes that need one first."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from kubekeel.backup import BackupError
from kubekeel.cluster import Node
from kubekeel.snapshot import MemberSeen, read, serving, to_rescue, upgraded
from tests.clusters import cluster

NODES = {node.name: node for node in cluster().nodes}


def status(*errors: str, index: int = 7) -> str:
    header = {"member_id": 11, "raft_term": 3}
    shown = {"header": header, "dbSize": 20480, "leader": 11, "raftTerm": 3, "raftIndex": index, "errors": errors}
    return f"status {json.dumps([{'Endpoint': 'https://127.0.0.1:2379', 'Status': shown}])}"


def seen(**members: MemberSeen) -> dict[Node, MemberSeen]:
    return {NODES[name]: member for name, member in members.items()}


def test_a_member_with_an_alarm_still_serves() -> None:
    found = read(["serves", status("memberID:11 alarm:NOSPACE ", "memberID:12 alarm:CORRUPT ")])
    assert found == MemberSeen(serves=True, alarms=("NOSPACE",), reached=(3, 7))


def test_a_member_that_does_not_answer_has_no_known_progress() -> None:
    assert read(["said Error: context deadline exceeded"]) == MemberSeen(said="Error: context deadline exceeded")
    assert read([]) == MemberSeen()


def test_a_corrupt_member_is_the_last_choice_for_a_snapshot() -> None:
    members = seen(m=MemberSeen(serves=True, alarms=("CORRUPT",)), a=MemberSeen(), b=MemberSeen(serves=True))
    assert [node.name for node in serving(members)] == ["b", "m"]


def test_the_most_advanced_member_is_rescued() -> None:
    members = seen(m=MemberSeen(reached=(3, 9)), a=MemberSeen(reached=(4, 2)), b=MemberSeen(reached=(4, 1)))
    assert to_rescue(members).name == "a"
    assert to_rescue(seen(m=MemberSeen(), a=MemberSeen())).name == "m"


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({}, "etcd: all of its hosts are unreachable; start one"),
        (
            {"a": MemberSeen(elsewhere=True, said="Error: no leader")},
            "a: its etcd does not serve, but a quorum of the others does (Error: no leader); leave --limit out",
        ),
        (
            {"m": MemberSeen(), "a": MemberSeen(said="x509: certificate has expired")},
            "a: its etcd refuses the administrator (x509: certificate has expired); deploy, then back up",
        ),
    ],
)
def test_no_member_is_stopped_where_there_may_be_a_quorum(members: dict[str, MemberSeen], fault: str) -> None:
    with pytest.raises(BackupError) as raised:
        to_rescue(seen(**members))
    assert raised.value.faults == (fault,)


SUPPLY: Any = SimpleNamespace(binary=lambda name, _arch: SimpleNamespace(sha256=f"new-{name}"))
CURRENT = {
    "etcd": "../store/new-etcd/etcd",
    "kubectl": "../store/new-kubectl/kubectl",
    "runc": "../store/old-runc/runc",
}


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, []),
        ({"m": {}}, []),
        ({"m": {**CURRENT, "etcd": "../store/old-etcd/etcd"}}, ["etcd on m"]),
        ({"m": {**CURRENT, "kubectl": "../store/old-kubectl/kubectl"}}, ["Kubernetes on m"]),
    ],
)
def test_an_upgrade_is_another_version_of_a_component_that_serves(
    changes: dict[str, dict[str, str]], due: list[str]
) -> None:
    links = dict.fromkeys(NODES, CURRENT) | changes
    assert upgraded(cluster(), SUPPLY, links) == due
    minions = {node.name: {"kubectl": "../store/old-kubectl/kubectl"} for node in cluster().nodes if node.name != "m"}
    assert upgraded(cluster(), SUPPLY, minions) == []
