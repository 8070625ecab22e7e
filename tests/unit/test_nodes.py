"""Nodes get the inventory's labels, annotations and taints, and keep those of others."""

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
    kubelet_may_set,
    new_record,
    read,
    wanted,
)
from tests.clusters import GROUPS, HOSTS, cluster

SSD = HOSTS | {"a": HOSTS["a"] | {"labels": {"disk": "ssd"}}}
OTHERS = {"kubernetes.io/hostname": "x", "team": "green"}


def seen(recorded: dict[str, frozenset[str]] | None = None, **nodes: NodeState) -> Seen:
    return Seen(nodes, recorded or {})


TAINT = f"{CONTROL_PLANE}:NoSchedule"


def node(*labels: str, tainted: bool = False, **more: str) -> NodeState:
    """Return a Node with labels, annotations and taints of others and of the inventory."""
    taints = {"node.kubernetes.io/unreachable:NoExecute": "", **({TAINT: ""} if tainted else {})}
    return NodeState({**OTHERS, **dict.fromkeys(labels, ""), **more}, {"csi": "x"}, taints)


def change(put: dict[str, str] | None = None, removed: tuple[str, ...] = (), tainted: bool | None = None) -> Change:
    """Return a change of labels and of the masters' taint."""
    taints = {None: Edit(), True: Edit(frozenset({(TAINT, "")})), False: Edit(removed=frozenset({TAINT}))}
    return Change(Edit(frozenset((put or {}).items()), frozenset(removed)), taints=taints[tainted])


def test_a_node_in_its_desired_state_is_left_alone() -> None:
    there = seen(m=node(CONTROL_PLANE, tainted=True), a=node(MINION, disk="ssd"), b=node(MINION))
    assert changes(wanted(cluster(hosts=SSD)), there) == {}


def test_new_nodes_get_their_roles_together() -> None:
    there = seen(m=node(tainted=True), a=node(), b=node())
    assert changes(wanted(cluster()), there) == {
        change({CONTROL_PLANE: ""}): ["m"],
        change({MINION: ""}): ["a", "b"],
    }


def test_a_new_master_is_tainted_and_a_former_one_is_not() -> None:
    promoted = cluster(GROUPS | {"masters": ["m", "a"], "minions": ["b"]})
    minion, master = node(MINION), node(CONTROL_PLANE, tainted=True)
    to_master = change({CONTROL_PLANE: ""}, (MINION,), tainted=True)
    assert changes(wanted(promoted), seen(m=master, a=minion, b=minion)) == {to_master: ["a"]}
    to_minion = change({MINION: ""}, (CONTROL_PLANE,), tainted=False)
    assert changes(wanted(cluster()), seen(m=master, a=master, b=minion)) == {to_minion: ["a"]}


def test_a_master_that_becomes_a_minion_too_loses_its_taint() -> None:
    both = cluster(GROUPS | {"minions": ["m", "a", "b"]})
    there = seen(m=node(CONTROL_PLANE, tainted=True), a=node(MINION), b=node(MINION))
    assert changes(wanted(both), there) == {change({MINION: ""}, tainted=False): ["m"]}
    alone = change(removed=(MINION,), tainted=True)
    assert changes(wanted(cluster()), Seen({**there.nodes, "m": node(CONTROL_PLANE, MINION)}, {})) == {alone: ["m"]}


def test_a_label_follows_the_inventory_and_is_removed_only_if_that_set_it() -> None:
    rest = {"m": node(CONTROL_PLANE, tainted=True), "b": node(MINION)}
    there = seen(**rest, a=node(MINION, disk="hdd"))
    assert changes(wanted(cluster(hosts=SSD)), there) == {change({"disk": "ssd"}): ["a"]}
    assert changes(wanted(cluster()), there) == {}
    ours = seen({"a": frozenset({"disk"})}, **rest, a=node(MINION, disk="hdd"))
    assert changes(wanted(cluster()), ours) == {change(removed=("disk",)): ["a"]}


def test_labels_of_nodes_missing_in_the_inventory_stay_recorded() -> None:
    there = seen({name: frozenset({"zone"}) for name in ("a", "b", "left", "gone")}, a=node(), b=node(), left=node())
    assert new_record(wanted(cluster(hosts=SSD)), there) == {"a": frozenset({"disk"}), "left": frozenset({"zone"})}


def test_a_master_that_is_not_registered_has_no_node() -> None:
    assert wanted(cluster(register_masters=False)).keys() == {"a", "b"}


def test_annotations_and_taints_follow_the_inventory_and_others_stay() -> None:
    data = {"annotations": {"example.org/rack": "12"}, "taints": {"dedicated:NoSchedule": "database"}}
    rest = {"m": node(CONTROL_PLANE, tainted=True), "b": node(MINION)}
    there = seen(**rest, a=node(MINION))
    added = Change(
        annotations=Edit(frozenset({("example.org/rack", "12")})),
        taints=Edit(frozenset({("dedicated:NoSchedule", "database")})),
    )
    wants = wanted(cluster(hosts=HOSTS | {"a": HOSTS["a"] | data}))
    assert changes(wants, there) == {added: ["a"]}
    note = new_record(wants, there)
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


def test_kubectl_is_called_once_for_all_nodes_with_the_same_change() -> None:
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


def test_the_output_of_kubectl_is_read() -> None:
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
def test_kubelet_sets_only_the_labels_that_kubernetes_allows_it(label: str, may: bool) -> None:
    assert kubelet_may_set(label) is may
