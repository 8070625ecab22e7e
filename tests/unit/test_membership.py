"""Members of etcd: founding, joining, leaving and restoring, and the inventory compared with them."""

from __future__ import annotations

import json

import pytest

from kubekeel.membership import (
    FOUNDING,
    JOINING,
    RESTORING,
    Member,
    OnDisk,
    Refused,
    admission,
    alarms,
    corrupt,
    faults,
    hindrances,
    leaving,
    members,
    named,
    not_restorable,
    problems,
    reset_faults,
    warnings,
    without_room,
)
from kubekeel.render import etcd_first_start
from tests.clusters import cluster
from tests.unit.members import ADDRESSES, BLANK, FOUR, ONE, SERVED, TWO, member, node, unhealthy

NAMES = ("m", "a", "b")


def conf(step: str) -> str:
    return etcd_first_start(cluster(), step, "m=https://192.0.2.1:2380").content.decode()


# Founding: only where no host has data of a cluster.


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ([BLANK, BLANK, BLANK], []),
        ([BLANK, OnDisk(False, conf(FOUNDING)), OnDisk(True, conf(FOUNDING))], []),
        ([BLANK, BLANK, OnDisk(False, conf(JOINING))], []),
        ([BLANK, BLANK, SERVED], ["b has data"]),
        ([SERVED, BLANK, SERVED], ["m has data", "b has data"]),
        ([BLANK, None, BLANK], ["a is not in this run"]),
        ([BLANK, BLANK, OnDisk(True, conf(JOINING))], ["b has data"]),
        ([BLANK, OnDisk(False, conf(RESTORING)), BLANK], ["a has an interrupted restore"]),
        ([BLANK, OnDisk(True, conf(RESTORING)), BLANK], ["a has an interrupted restore"]),
        (
            [BLANK, OnDisk(True, conf(FOUNDING) + "# other members"), BLANK],
            ["a has data of another cluster that never served"],
        ),
    ],
)
def test_a_cluster_is_founded_only_by_all_hosts_and_without_data(seen: list[OnDisk | None], why: list[str]) -> None:
    assert hindrances(dict(zip(NAMES, seen, strict=True)), conf(FOUNDING)) == why


@pytest.mark.parametrize(("step", "state"), [(FOUNDING, "new"), (JOINING, "existing"), (RESTORING, "existing")])
def test_the_first_start_sets_the_state_of_the_initial_cluster(step: str, state: str) -> None:
    assert OnDisk(False, conf(step)).step == step
    assert f"ETCD_INITIAL_CLUSTER_STATE={state}\n" in conf(step)


# Joining.


@pytest.mark.parametrize(
    ("existing", "removed", "initial"),
    [
        # a new member beside one, or two
        ([member("m")], (), "m,b"),
        ([member("m"), member("a")], (), "m,a,b"),
        # a replaced member: its old entry has the same name, address or both, and may never have started
        ([member("m"), member("a"), unhealthy("b")], ("id-b",), "m,a,b"),
        ([member("m"), member("a"), unhealthy("b", started=False)], ("id-b",), "m,a,b"),
        ([member("m"), member("a"), unhealthy("b", address="192.0.2.9")], ("id-b",), "m,a,b"),
        ([member("m"), member("a"), unhealthy("d", address="192.0.2.3")], ("id-d",), "m,a,b"),
        ([member("m"), member("a"), unhealthy("b", learner=True)], ("id-b",), "m,a,b"),
        # two members of five may be gone
        ([member("m"), member("a"), unhealthy("b"), member("c"), unhealthy("d")], ("id-b",), "m,a,c,d,b"),
    ],
)
def test_a_host_without_data_joins_members_that_have_quorum(
    existing: list[Member], removed: tuple[str, ...], initial: str
) -> None:
    found = admission(node("b"), ADDRESSES, existing)
    assert found.removed == removed
    assert found.initial_cluster == ",".join(f"{name}=https://{ADDRESSES[name]}:2380" for name in initial.split(","))


@pytest.mark.parametrize(
    ("existing", "why"),
    [
        (
            [member("m"), member("a"), member("b")],
            r"b: has no data, but a member of its name or address serves \(b, https://192\.0\.2\.3:2380\); stop that",
        ),
        (
            [member("m"), member("a"), member("b", address="192.0.2.9")],
            r"b: has no data, but a member of its name or address serves \(b, https://192\.0\.2\.9:2380\); stop that",
        ),
        (
            [member("m"), unhealthy("a"), unhealthy("b")],
            r"b: cannot join etcd: of the other 2 members only 1 are healthy \(not a, https://192\.0\.2\.2:2380\); sta",
        ),
        (
            [member("m"), unhealthy("c"), unhealthy("d"), member("a"), unhealthy("b")],
            r"b: cannot join etcd: of the other 4 members only 2 are healthy",
        ),
        (
            [member("m"), unhealthy("a", learner=True)],
            r"b: cannot join etcd while another member is a learner \(a, https://192\.0\.2\.2:2380\); deploy to that",
        ),
        (
            [member("m"), unhealthy("a", learner=True, started=False)],
            r"b: cannot join etcd while another member is a learner \(not started yet, https://192\.0\.2\.2:2380\);"
            r" deploy to that host first, or remove it: actions/remove_member\.py --data member=192\.0\.2\.2$",
        ),
        (
            [member("m"), member("a"), unhealthy("c")],
            r"b: etcd has a member that is not in the inventory \(c, .*\); remove it first: \S+ --data member=c$",
        ),
    ],
)
def test_a_host_does_not_join_where_that_would_risk_the_quorum(existing: list[Member], why: str) -> None:
    with pytest.raises(Refused, match=why):
        admission(node("b"), NAMES, existing)


def test_joining_removes_no_other_member() -> None:
    existing = [member("m"), member("a"), member("c"), unhealthy("d")]
    assert admission(node("b"), ADDRESSES, existing).removed == ()


# Leaving.


@pytest.mark.parametrize(
    ("existing", "found"),
    [
        ([member("m"), member("a"), member("b")], "id-b"),
        ([member("m"), member("a"), unhealthy("b")], "id-b"),
        ([member("m"), member("b")], "id-b"),
        ([member("m"), member("a"), unhealthy("b", learner=True)], "id-b"),
        ([member("m"), member("a")], None),
        ([member("m"), member("a"), unhealthy("b"), member("c"), unhealthy("d")], "id-b"),
    ],
)
def test_a_member_may_leave_if_the_others_keep_quorum(existing: list[Member], found: str | None) -> None:
    left = leaving("b", ADDRESSES, existing)
    assert (left and left.id) == found


@pytest.mark.parametrize(
    ("existing", "why"),
    [
        ([member("b")], r"b: is the only member of etcd; take a backup"),
        ([member("b"), unhealthy("a", learner=True)], r"b: is the only member of etcd"),
        (
            [member("m"), unhealthy("a"), member("b")],
            r"b: cannot leave etcd while another member is not healthy \(a, https://192\.0\.2\.2:2380\); repair"
            r" that one first, or remove it: actions/remove_member\.py --data member=a",
        ),
        ([member("m"), unhealthy("b")], None),
        ([member("m"), member("a"), unhealthy("d", learner=True, started=False), member("b")], None),
        (
            [member("m"), unhealthy("a"), unhealthy("b")],
            r"b: cannot leave etcd: of the other 2 members only 1 are healthy",
        ),
        ([unhealthy("m"), unhealthy("b")], r"b: cannot leave etcd: of the other 1 members only 0 are healthy"),
    ],
)
def test_a_member_may_not_leave_if_the_others_would_lose_quorum(existing: list[Member], why: str | None) -> None:
    if why is None:
        assert leaving("b", ADDRESSES, existing)
    else:
        with pytest.raises(Refused, match=why):
            leaving("b", ADDRESSES, existing)


LEARNER = unhealthy("d", learner=True, started=False)


@pytest.mark.parametrize("wanted", ["d", "192.0.2.5", "id-d"])
def test_a_learner_that_never_started_is_removed_by_name_address_or_id(wanted: str) -> None:
    assert leaving(wanted, ADDRESSES, [member("m"), member("a"), LEARNER]) == LEARNER


def test_a_member_missing_in_the_inventory_is_removed_by_name_or_address() -> None:
    existing = [member("m"), member("a"), member("b"), unhealthy("gone", address="192.0.2.77")]
    assert leaving("gone", ADDRESSES, existing) == existing[-1]
    assert leaving("192.0.2.77", ADDRESSES, existing) == existing[-1]


def test_an_unknown_name_removes_no_member() -> None:
    assert leaving("typo", ADDRESSES, [member("m"), member("a"), LEARNER]) is None
    assert named("typo", ADDRESSES, [member("m"), LEARNER]) == []


def test_a_host_with_two_members_is_refused_with_their_ids() -> None:
    existing = [
        member("m"),
        member("a"),
        unhealthy("b", address="192.0.2.99"),
        unhealthy("b", learner=True, started=False),
    ]
    with pytest.raises(Refused, match=r"^b: etcd has more than one member .* ID id-b.*--data member=id-b"):
        leaving("b", ADDRESSES, existing)


def test_a_member_of_a_renamed_host_is_not_removed_by_its_old_name() -> None:
    renamed = {"m": ADDRESSES["m"], "a": ADDRESSES["a"], "worker": ADDRESSES["b"]}
    existing = [member("m"), member("a"), member("b")]
    with pytest.raises(Refused, match=r"^b: the member of etcd with that name is at the address of worker \(b, "):
        leaving("b", renamed, existing)
    assert leaving(ADDRESSES["b"], renamed, existing) == existing[-1]
    assert leaving("b", renamed, [*existing[:2], unhealthy("b")]) == unhealthy("b")


# The members compared with the inventory.

GROUP = {name: ADDRESSES[name] for name in NAMES}
ALL_DATA = dict.fromkeys(NAMES, True)
THREE = [member("m"), member("a"), member("b")]
REMOVE = "actions/remove_member.py --data member="


def test_members_that_match_the_inventory_have_no_fault() -> None:
    assert faults(GROUP, THREE, ALL_DATA) == []
    assert warnings(GROUP, THREE) == []
    assert list(problems(GROUP, THREE)) == []


@pytest.mark.parametrize(
    ("group", "existing", "data", "found"),
    [
        # a host removed from the group or the inventory
        (
            ONE,
            THREE,
            ALL_DATA,
            [
                f"etcd: has a member that is not in the group etcd ({name}, https://{ADDRESSES[name]}:2380);"
                f" put its host into the group, or remove it: {REMOVE}{name}"
                for name in "ab"
            ],
        ),
        # a learner that never started, of a replaced host
        (GROUP, [*THREE[:2], LEARNER], ALL_DATA | {"b": False}, [f"{REMOVE}192.0.2.5"]),
        # two members of one name
        (
            TWO,
            [*THREE[:2], unhealthy("d"), unhealthy("d", address="192.0.2.7")],
            ALL_DATA,
            [f"{REMOVE}192.0.2.5", "=192.0.2.7"],
        ),
        # a machine with another address
        (
            GROUP,
            [*THREE[:2], member("b", address="192.0.2.99")],
            ALL_DATA,
            [
                "b: is a member of etcd at another address (192.0.2.99, not 192.0.2.3); give it that address back, or"
                f" remove it, then deploy: {REMOVE}b"
            ],
        ),
        # a host outside this run
        (GROUP, [*THREE[:2], unhealthy("b", address="192.0.2.99")], {"m": True}, ["b: is a member of etcd at another"]),
        # a new machine that replaces a lost one, at the same address or another: it joins
        (GROUP, [*THREE[:2], unhealthy("b")], ALL_DATA | {"b": False}, []),
        (GROUP, [*THREE[:2], unhealthy("b", address="192.0.2.99")], ALL_DATA | {"b": False}, []),
        (GROUP, [*THREE[:2], unhealthy("d", address=ADDRESSES["b"])], ALL_DATA | {"b": False}, []),
        # new hosts: they join
        (GROUP, THREE[:1], {"m": True, "a": False, "b": False}, []),
        (GROUP, THREE[:1], {"m": True}, []),
        # a host that was removed while it was off
        (
            GROUP,
            THREE[:2],
            ALL_DATA,
            [f"b: has etcd data, but is no longer a member (m, a); remove its data, then deploy: {REMOVE}b"],
        ),
        # even groups: refused at first and when a group grows
        (TWO, [], {"m": False, "a": False}, ["etcd: needs an odd number of hosts (m, a); add or remove one"]),
        (FOUR, THREE, ALL_DATA | {"c": False}, ["etcd: needs an odd number of hosts (m, a, b, c); add or remove one"]),
        (TWO, THREE[:2], ALL_DATA, []),
        # without quorum
        (TWO, [], {"m": True, "a": False}, []),
        (TWO, [], {}, []),
        (GROUP, [], ALL_DATA, []),
        (ONE, [], {"m": True, "c": False, "b": True}, ["b: has etcd data, and no quorum answers whether"]),
        # a run limited to a host that left the group: it may still be a member, so its data must stay
        (ONE, [], {"b": True}, ["b: has etcd data, and no quorum answers whether"]),
    ],
)
def test_a_deploy_is_refused_where_members_and_inventory_differ(
    group: dict[str, str], existing: list[Member], data: dict[str, bool], found: list[str]
) -> None:
    seen = faults(group, existing, data)
    assert len(seen) == len(found), seen
    for line, part in zip(seen, found, strict=True):
        assert part in line


def test_two_members_left_of_three_are_only_a_warning() -> None:
    assert warnings(TWO, THREE[:2]) == [
        "etcd: has an even number of members (m, a); it survives no more failures than 1 would: add a host,"
        " or remove one"
    ]


@pytest.mark.parametrize(
    ("group", "existing", "problem"),
    [
        (TWO, THREE, "etcd: has a member that is not in the group etcd (b, https://192.0.2.3:2380); put its host"),
        (GROUP, [*THREE[:2], member("b", address="192.0.2.99")], "b: is a member of etcd at another address (192"),
        (GROUP, THREE[:2], "b: is not a member of etcd (m, a); deploy again"),
        (
            GROUP,
            [*THREE[:2], unhealthy("b", learner=True)],
            "b: is a learner in etcd, without a vote yet (b, https://192.0.2.3:2380); deploy again",
        ),
        (
            GROUP,
            [*THREE[:2], unhealthy("b")],
            "b: its member of etcd is not healthy (b, https://192.0.2.3:2380); start it, or, if it is gone for good,"
            f" remove it: {REMOVE}b",
        ),
    ],
)
def test_status_names_the_faults_of_members(group: dict[str, str], existing: list[Member], problem: str) -> None:
    (found,) = problems(group, existing)
    assert found.startswith(problem)


def test_status_names_no_member_without_quorum() -> None:
    assert list(problems(GROUP, [])) == []


# Restoring.


@pytest.mark.parametrize(
    ("seen", "confirmed", "hindered"),
    [
        ([BLANK, BLANK, BLANK], False, []),
        ([OnDisk(True, conf(RESTORING)), OnDisk(False, conf(RESTORING)), BLANK], False, []),
        ([BLANK, None, BLANK], True, ["a"]),
        ([SERVED, BLANK, OnDisk(True, conf(FOUNDING))], False, ["m", "b"]),
        ([SERVED, BLANK, SERVED], True, []),
    ],
)
def test_a_restore_needs_all_members_and_replaces_data_only_if_confirmed(
    seen: list[OnDisk | None], confirmed: bool, hindered: list[str]
) -> None:
    why = not_restorable(dict(zip(NAMES, seen, strict=True)), confirmed)
    assert [each.split()[0] for each in why] == hindered


def test_a_member_without_room_for_the_snapshot_and_its_data_is_not_restored() -> None:
    assert without_room({"m": 328, "a": 327}, 100 << 20) == [
        "a has too little room in /var/lib/etcd (327 MiB free, 328 needed): make room there"
    ]


# The output of etcdctl.


def test_members_are_read_with_their_health() -> None:
    listed = {
        "header": {},
        "members": [
            {"ID": 1, "name": "m", "peerURLs": ["https://m:2380"], "clientURLs": ["https://m:2379"]},
            {"ID": 14356163937042186227, "name": "a", "peerURLs": ["https://a:2380"], "clientURLs": ["https://a:2379"]},
            {"ID": 3, "peerURLs": ["https://b:2380"], "isLearner": True},
        ],
    }
    health = [
        {"endpoint": "https://m:2379", "health": True, "took": "5ms"},
        {"endpoint": "https://a:2379", "health": False, "error": "context deadline exceeded"},
    ]
    assert members(json.dumps(listed), json.dumps(health)) == (
        Member("1", "m", "https://m:2380", learner=False, healthy=True),
        Member("c73b5709dcac3ff3", "a", "https://a:2380", learner=False, healthy=False),
        Member("3", "", "https://b:2380", learner=True, healthy=False),
    )
    assert not any(each.healthy for each in members(json.dumps(listed), ""))
    alarm = [{"endpoint": "https://m:2379", "health": False, "error": "Active Alarm(s): NOSPACE "}]
    assert members(json.dumps(listed), json.dumps(alarm))[0].healthy


def test_only_a_present_member_is_corrupt() -> None:
    listed = {"members": [{"ID": 26, "name": "m", "peerURLs": ["https://192.0.2.1:2380"]}]}
    present = members(json.dumps(listed), "")
    raised = alarms(["memberID:26 alarm:CORRUPT", "memberID:27  alarm:CORRUPT", "memberID:26  alarm:NOSPACE"])
    assert raised == (("1a", "CORRUPT"), ("1b", "CORRUPT"), ("1a", "NOSPACE"))
    assert corrupt(raised, present) == ["m, https://192.0.2.1:2380"]
    assert corrupt(raised[1:], present) == []


# A reset of some hosts.


@pytest.mark.parametrize(
    ("taken", "existing"),
    [
        # one of three; all; only hosts without a member; hosts whose etcd has no quorum
        ("b", "mab"),
        ("mabcd", "mab"),
        ("cd", "mab"),
        ("ab", ""),
        # all members: nothing of etcd is left
        ("mab", "mab"),
        ("cd", "mabcd"),
    ],
)
def test_a_reset_may_take_members_that_the_quorum_does_not_need(taken: str, existing: str) -> None:
    assert reset_faults(ADDRESSES, taken, [member(name) for name in existing]) == []


@pytest.mark.parametrize(("taken", "existing"), [("ab", "mab"), ("a", "ma"), ("abc", "mabcd"), ("bad", "mab")])
def test_a_reset_may_not_take_the_quorum_of_members_that_stay(taken: str, existing: str) -> None:
    [fault] = reset_faults(ADDRESSES, taken, [member(name) for name in existing])
    lost = ", ".join(name for name in existing if name in taken)
    assert fault.startswith(f"etcd: would lose its quorum with these members ({lost} of {', '.join(existing)}); remove")


def test_a_learner_is_not_part_of_the_quorum_that_a_reset_must_leave() -> None:
    assert reset_faults(ADDRESSES, "b", [member("m"), member("a"), member("b", learner=True)]) == []
    assert reset_faults(ADDRESSES, "a", [member("m"), member("a"), member("b", learner=True)]) != []


def test_a_reset_does_not_count_on_members_that_are_not_healthy() -> None:
    [fault] = reset_faults(ADDRESSES, "b", [member("m"), unhealthy("a"), member("b")])
    assert "these members (b of m, a, b; not healthy: a)" in fault
    assert "repair the members that are not healthy, or remove them: actions/remove_member.py --data member=a" in fault
    assert reset_faults(ADDRESSES, "a", [member("m"), unhealthy("a"), member("b")]) == []
