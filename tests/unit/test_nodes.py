"""Nodes get the labels and the taint that the inventory wants, and keep what others gave them."""

from __future__ import annotations

import json

import pytest

from kubekeel.nodes import (
    CONTROL_PLANE,
    MINION,
    Change,
    Edit,
    NodeState,
    Seen,
    changes,
    commands,
    given,
    kubelet_may_set,
    read,
    wanted,
)
from tests.clusters import GROUPS, HOSTS, cluster

SSD = HOSTS | {"a": HOSTS["a"] | {"labels": {"disk": "ssd"}}}
OTHERS = {"kubernetes.io/hostname": "x", "team": "green"}


def seen(given: dict[str, frozenset[str]] | None = None, **nodes: NodeState) -> Seen:
    return Seen(nodes, given or {})


TAINT = f"{CONTROL_PLANE}:NoSchedule"


def node(*labels: str, tainted: bool = False, **more: str) -> NodeState:
    """A Node as others and the inventory made it."""
    taints = {"node.kubernetes.io/unreachable:NoExecute": "", **({TAINT: ""} if tainted else {})}
    return NodeState({**OTHERS, **dict.fromkeys(labels, ""), **more}, {"csi": "x"}, taints)


def change(put: dict[str, str] | None = None, removed: tuple[str, ...] = (), tainted: bool | None = None) -> Change:
    """Of labels, and of the taint of masters."""
    taints = {None: Edit(), True: Edit(frozenset({(TAINT, "")})), False: Edit(removed=frozenset({TAINT}))}
    return Change(Edit(frozenset((put or {}).items()), frozenset(removed)), taints=taints[tainted])


def test_a_node_that_is_as_wanted_is_left_alone() -> None:
    there = seen(m=node(CONTROL_PLANE, tainted=True), a=node(MINION, disk="ssd"), b=node(MINION))
    assert changes(wanted(cluster(hosts=SSD)), there) == {}


def test_new_nodes_get_their_roles_together() -> None:
    there = seen(m=node(tainted=True), a=node(), b=node())
    assert changes(wanted(cluster()), there) == {
        change({CONTROL_PLANE: ""}): ["m"],
        change({MINION: ""}): ["a", "b"],
    }


def test_a_minion_that_becomes_a_master_is_tainted_and_one_that_ceases_to_be_one_is_not() -> None:
    promoted = cluster(GROUPS | {"masters": ["m", "a"], "minions": ["b"]})
    minion, master = node(MINION), node(CONTROL_PLANE, tainted=True)
    to_master = change({CONTROL_PLANE: ""}, (MINION,), tainted=True)
    assert changes(wanted(promoted), seen(m=master, a=minion, b=minion)) == {to_master: ["a"]}
    to_minion = change({MINION: ""}, (CONTROL_PLANE,), tainted=False)
    assert changes(wanted(cluster()), seen(m=master, a=master, b=minion)) == {to_minion: ["a"]}


def test_a_master_that_becomes_a_minion_too_takes_all_work() -> None:
    both = cluster(GROUPS | {"minions": ["m", "a", "b"]})
    there = seen(m=node(CONTROL_PLANE, tainted=True), a=node(MINION), b=node(MINION))
    assert changes(wanted(both), there) == {change({MINION: ""}, tainted=False): ["m"]}
    alone = change(removed=(MINION,), tainted=True)
    assert changes(wanted(cluster()), Seen({**there.nodes, "m": node(CONTROL_PLANE, MINION)}, {})) == {alone: ["m"]}


def test_a_label_is_changed_with_the_inventory_and_goes_only_if_that_gave_it() -> None:
    rest = {"m": node(CONTROL_PLANE, tainted=True), "b": node(MINION)}
    there = seen(**rest, a=node(MINION, disk="hdd"))
    assert changes(wanted(cluster(hosts=SSD)), there) == {change({"disk": "ssd"}): ["a"]}
    assert changes(wanted(cluster()), there) == {}
    ours = seen({"a": frozenset({"disk"})}, **rest, a=node(MINION, disk="hdd"))
    assert changes(wanted(cluster()), ours) == {change(removed=("disk",)): ["a"]}


def test_what_was_given_is_known_of_nodes_that_the_inventory_does_not_have() -> None:
    there = seen({name: frozenset({"zone"}) for name in ("a", "b", "left", "gone")}, a=node(), b=node(), left=node())
    assert given(wanted(cluster(hosts=SSD)), there) == {"a": frozenset({"disk"}), "left": frozenset({"zone"})}


def test_a_master_that_is_not_registered_has_no_node() -> None:
    assert wanted(cluster(register_masters=False)).keys() == {"a", "b"}


def test_annotations_and_taints_follow_the_inventory_as_labels_do_and_others_stay() -> None:
    data = {"annotations": {"example.org/rack": "12"}, "taints": {"dedicated:NoSchedule": "database"}}
    rest = {"m": node(CONTROL_PLANE, tainted=True), "b": node(MINION)}
    there = seen(**rest, a=node(MINION))
    given_them = Change(
        annotations=Edit(frozenset({("example.org/rack", "12")})),
        taints=Edit(frozenset({("dedicated:NoSchedule", "database")})),
    )
    wants = wanted(cluster(hosts=HOSTS | {"a": HOSTS["a"] | data}))
    assert changes(wants, there) == {given_them: ["a"]}
    note = given(wants, there)
    assert note == {"a": frozenset({"annotation=example.org/rack", "taint=dedicated:NoSchedule"})}
    has = node(MINION)
    has = NodeState(has.labels, {**has.annotations, **data["annotations"]}, {**has.taints, **data["taints"]})
    assert changes(wants, Seen({**rest, "a": has}, note)) == {}
    taken = Change(
        annotations=Edit(removed=frozenset({"example.org/rack"})),
        taints=Edit(removed=frozenset({"dedicated:NoSchedule"})),
    )
    assert changes(wanted(cluster()), Seen({**rest, "a": has}, note)) == {taken: ["a"]}
    assert changes(wanted(cluster()), Seen({**rest, "a": has}, {})) == {}


def test_kubectl_is_called_once_for_all_nodes_that_need_the_same() -> None:
    needed = Change(
        labels=Edit(frozenset({("disk", "ssd"), ("b", "")}), frozenset({"zone"})),
        annotations=Edit(frozenset({("rack", "12")})),
        taints=Edit(frozenset({("dedicated:NoExecute", "db"), (TAINT, "")}), frozenset({"old:NoSchedule"})),
    )
    assert commands(needed, ["a", "b"]) == [
        ["label", "--overwrite", "nodes", "a", "b", "b=", "disk=ssd", "zone-"],
        ["annotate", "--overwrite", "nodes", "a", "b", "rack=12"],
        [
            *("taint", "--overwrite", "nodes", "a", "b"),
            *("dedicated=db:NoExecute", f"{CONTROL_PLANE}:NoSchedule", "old:NoSchedule-"),
        ],
    ]
    assert commands(change(tainted=True), ["m"]) == [
        ["taint", "--overwrite", "nodes", "m", f"{CONTROL_PLANE}:NoSchedule"]
    ]


def test_what_kubectl_prints_is_read() -> None:
    taints = [
        {"key": "dedicated", "value": "db", "effect": "NoExecute", "timeAdded": "2026-11-25T10:00:00Z"},
        {"key": CONTROL_PLANE, "effect": "NoSchedule"},
    ]
    nodes = [("m", json.dumps(OTHERS), '{"csi": "x"}', json.dumps(taints)), ("a", "", "", "")]
    there = read(nodes, '{"a": "disk taint=x:NoSchedule"}')
    assert there == Seen(
        {"m": NodeState(OTHERS, {"csi": "x"}, {"dedicated:NoExecute": "db", TAINT: ""}), "a": NodeState({})},
        {"a": frozenset({"disk", "taint=x:NoSchedule"})},
    )
    assert read([], "") == Seen({}, {})


@pytest.mark.parametrize(
    ("label", "may"),
    [
        ("disk", True),
        ("example.org/disk", True),
        ("notkubernetes.io/disk", True),
        ("topology.kubernetes.io/zone", True),
        ("node.kubernetes.io/instance-type", True),
        ("my.node.kubernetes.io/x", True),
        ("kubelet.kubernetes.io/x", True),
        ("storage.kubernetes.io/tier", False),
        ("topology.kubernetes.io/rack", False),
        ("node-restriction.kubernetes.io/tenant", False),
        ("tenant.node-restriction.kubernetes.io/x", False),
        ("kubernetes.io/x", False),
        ("k8s.io/x", False),
        ("storage.k8s.io/x", False),
    ],
)
def test_only_labels_that_kubelet_starts_with_are_left_to_it(label: str, may: bool) -> None:
    assert kubelet_may_set(label) is may
