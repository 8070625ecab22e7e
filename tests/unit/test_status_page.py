"""The problems and notes of a cluster's status."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kubekeel.membership import problems, warnings
from kubekeel.pki import Pki
from kubekeel.status import (
    AS_DESCRIBED,
    SERVES,
    Certificate,
    Component,
    Member,
    NodeStatus,
    Status,
    certificate,
    member,
)
from tests.unit import members
from tests.unit.keys import CLUSTER

NODE = NodeStatus(
    name="m1",
    address="192.0.2.1",
    components=(Component("etcd", SERVES, "v3.7.3"), Component("kube-apiserver", SERVES, "v1.37.2")),
    member=Member(leads=True, size=2**20),
    certificates=(Certificate("/etc/kubernetes/pki/apiserver.crt", 300), Certificate("/etc/etcd/pki/ca.crt", 3000)),
)


def status(*nodes: NodeStatus, kept: tuple[Certificate, ...] = ()) -> Status:
    return Status("test", "v1.37.2", renew_before_days=30, nodes=nodes, kept=kept)


def test_a_healthy_cluster_has_no_problems_and_no_notes() -> None:
    fine = status(NODE, replace(NODE, name="m2"))
    assert (fine.healthy, [*fine.problems()], [*fine.notes()]) == (True, [], [])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"unreachable": "no SSH connection", "components": (), "member": None, "certificates": ()},
            "m1: is unreachable (no SSH connection); start it, or check its network",
        ),
        (
            {"components": (Component("etcd", "not active"),)},
            "m1: etcd does not serve (not active); see `journalctl -u etcd` there, or deploy again",
        ),
        (
            {"components": (Component("kube-scheduler", "not healthy"),)},
            "m1: kube-scheduler does not serve (not healthy); "
            "see `crictl ps --all` and `crictl logs` there, or deploy again",
        ),
        (
            {"components": (Component("images", "not as described"), Component("kernel settings", AS_DESCRIBED))},
            "m1: is not as described (images); deploy again",
        ),
        (
            {"snapshot_age": 60 * 86400.0, "timer_age": 90 * 86400.0},
            "m1: etcd has no snapshot of the last 24 h (the newest 1440 h ago); "
            "see `journalctl -u etcd-snapshot` there, check that its disk has room, then deploy again",
        ),
        (
            {"timer_age": 90000.0},
            "m1: etcd has no snapshot of the last 24 h (none); "
            "see `journalctl -u etcd-snapshot` there, check that its disk has room, then deploy again",
        ),
        (
            {"snapshot_age": 60.0, "snapshot_failed": True},
            "m1: the last snapshot of etcd failed; "
            "see `journalctl -u etcd-snapshot` there, check that its disk has room, then deploy again",
        ),
        (
            {"member": Member(leads=False, size=1, alarms=("NOSPACE",))},
            "m1: etcd has an alarm (NOSPACE); delete the objects that fill it, then run actions/defragment.py",
        ),
        (
            {"member": Member(leads=False, size=1, alarms=("CORRUPT",))},
            "m1: etcd has an alarm (CORRUPT); its data differ from the others';"
            " run actions/remove_member.py --data member=m1, then deploy",
        ),
        (
            {"certificates": (Certificate("/etc/kubernetes/pki/apiserver.crt", -3),)},
            "m1: has expired (/etc/kubernetes/pki/apiserver.crt, 3 days ago); deploy again to renew it",
        ),
        (
            {"certificates": (Certificate("/etc/kubernetes/pki/ca.crt", -3),)},
            "m1: has expired (/etc/kubernetes/pki/ca.crt, 3 days ago); replace it: actions/rotate.py,"
            " see docs/security.md",
        ),
        (
            {"certificates": (Certificate("/etc/kubernetes/pki/apiserver.crt", None),)},
            "m1: is not a certificate (/etc/kubernetes/pki/apiserver.crt); remove it, then deploy again",
        ),
    ],
)
def test_a_problem_names_its_host_and_a_remedy(changes: dict[str, object], problem: str) -> None:
    found = status(replace(NODE, **changes))  # type: ignore[arg-type]
    assert [*found.problems()] == [problem]
    assert not found.healthy


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        (
            {"differing": ("/a", "/b", "/c", "/d")},
            "m1: 4 of its files differ from their description (/a, /b, /c, ...); deploy again",
        ),
        (
            {"components": (Component("kubelet", SERVES, "v1.37.2", outdated=True),)},
            "m1: kubelet is older than its files; deploy again",
        ),
        (
            {"components": (Component("kubelet", SERVES, "v1.37.2", disabled=True),)},
            "m1: kubelet does not start at boot (disabled); deploy again",
        ),
        (
            {"certificates": (Certificate("/etc/kubernetes/pki/apiserver.crt", 29),)},
            "m1: expires in 29 days (/etc/kubernetes/pki/apiserver.crt); deploy again to renew it",
        ),
    ],
)
def test_a_pending_change_is_a_note_and_not_a_problem(changes: dict[str, object], note: str) -> None:
    due = status(replace(NODE, **changes))  # type: ignore[arg-type]
    assert [*due.notes()] == [note]
    assert due.healthy


@pytest.mark.parametrize(
    "ages",
    [{"snapshot_age": 80000.0, "timer_age": 9e6}, {"timer_age": 3600.0}, {"snapshot_age": 9e6, "timer_age": 60.0}],
    ids=["newest within two intervals", "new member", "returned member"],
)
def test_a_snapshot_that_is_not_due_yet_is_not_a_problem(ages: dict[str, float]) -> None:
    assert status(replace(NODE, **ages)).healthy  # type: ignore[arg-type]


def test_unexpected_members_are_a_problem_and_an_even_number_is_a_note() -> None:
    there = (members.member("m"), members.member("a"))
    seen = status(replace(NODE, unreachable="", members=()), replace(NODE, name="m2", members=there))
    assert [*replace(seen, etcd=members.ONE).problems()] == [*problems(members.ONE, there)] != []
    even = replace(seen, etcd=members.TWO)
    assert even.healthy
    assert [*even.notes()] == warnings(members.TWO, there) != []
    assert json.loads(even.as_json())["nodes"][1]["members"][1]["peer_url"] == "https://192.0.2.2:2380"


def test_certificates_of_the_control_machine_count_too() -> None:
    assert [*status(NODE, kept=(Certificate("admin", -1),)).problems()] == [
        "control machine: has expired (admin, 1 days ago); deploy again to renew it"
    ]


def test_json_has_all_of_the_table() -> None:
    parsed = json.loads(status(NODE, replace(NODE, name="m2", unreachable="off", components=())).as_json())
    assert parsed["healthy"] is False
    assert len(parsed["problems"]) == 1
    assert parsed["nodes"][1]["unreached"] == "off"
    assert parsed["nodes"][0]["components"][0] == {
        **{"name": "etcd", "state": "serves", "version": "v3.7.3", "outdated": False, "disabled": False}
    }
    assert parsed["nodes"][0]["certificates"][0] == {"path": "/etc/kubernetes/pki/apiserver.crt", "days_left": 300}


def test_a_member_is_read_from_etcdctl_with_its_own_alarms_only() -> None:
    printed = json.dumps([{"Status": {"header": {"member_id": 7}, "leader": 7, "dbSize": 5}}])
    alarms = ["memberID:8 alarm:CORRUPT", "memberID:7  alarm:NOSPACE"]
    assert member(printed, alarms) == Member(leads=True, size=5, alarms=("NOSPACE",))
    assert member("", []) is None
    assert member("null", []) is None


def test_the_days_left_of_a_certificate_are_counted_to_its_end(tmp_path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    pem = Pki.open(tmp_path, CLUSTER, now - timedelta(days=400)).leaf(CLUSTER.nodes[0].name, "kubelet-client").cert
    assert certificate("/x.crt", pem, now) == Certificate("/x.crt", -35)
    assert certificate("/x.crt", b"nonsense", now) == Certificate("/x.crt", None)


def test_certificates_are_named_by_their_paths() -> None:
    assert Certificate("/etc/kubernetes/pki/apiserver.crt", 1).name == "kubernetes/apiserver"
    for authority in ("/etc/flannel/pki/etcd-ca.crt", "/etc/kubernetes/pki/ca.crt", "signing-ca", "ca"):
        assert Certificate(authority, 1).is_authority
    assert not Certificate("/etc/etcd/pki/peer.crt", 1).is_authority


def test_an_interrupted_rotation_and_an_expiring_authority_are_notes() -> None:
    late = Certificate("/etc/kubernetes/pki/ca.crt", 364)
    found = replace(status(replace(NODE, certificates=(late,))), generations={"ca": (1, 2), "etcd-ca": (3,)})
    assert list(found.notes()) == [
        "control machine: a rotation of ca is not finished (1 and 2 are in use); run actions/rotate.py --data what=ca"
        " again",
        "m1: expires in 364 days (/etc/kubernetes/pki/ca.crt); replace it: actions/rotate.py, see docs/security.md",
    ]
    assert found.healthy
    assert json.loads(found.as_json())["generations"] == {"ca": [1, 2], "etcd-ca": [3]}
