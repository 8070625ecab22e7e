"""Nodes get the labels and the taint that the inventory wants, and keep what others gave them."""

from __future__ import annotations

import json

import pytest

from kubekeel.nodes import (
    CONTROL_PLANE,
    MINION,
    Change,
    NodeState,
    Seen,
    changes,
    commands,
    given,
    kubelet_may_set,
    read,
    wanted,
)
from tests.unit.test_cluster import GROUPS, HOSTS, cluster

SSD = HOSTS | {"a": HOSTS["a"] | {"labels": {"disk": "ssd"}}}
OTHERS = {"kubernetes.io/hostname": "x", "team": "green"}


def seen(given: dict[str, frozenset[str]] | None = None, **nodes: NodeState) -> Seen:
    return Seen(nodes, given or {})


def node(*labels: str, tainted: bool = False, **more: str) -> NodeState:
    return NodeState({**OTHERS, **dict.fromkeys(labels, ""), **more}, tainted)


def test_a_node_that_is_as_wanted_is_left_alone() -> None:
    there = seen(m=node(CONTROL_PLANE, tainted=True), a=node(MINION, disk="ssd"), b=node(MINION))
    assert changes(wanted(cluster(hosts=SSD)), there) == {}


def test_new_nodes_get_their_roles_together() -> None:
    there = seen(m=node(tainted=True), a=node(), b=node())
    assert changes(wanted(cluster()), there) == {
        Change(labels=frozenset({(CONTROL_PLANE, "")})): ["m"],
        Change(labels=frozenset({(MINION, "")})): ["a", "b"],
    }


def test_a_minion_that_becomes_a_master_is_tainted_and_one_that_ceases_to_be_one_is_not() -> None:
    promoted = cluster(GROUPS | {"masters": ["m", "a"], "minions": ["b"]})
    minion, master = node(MINION), node(CONTROL_PLANE, tainted=True)
    to_master = Change(frozenset({(CONTROL_PLANE, "")}), frozenset({MINION}), tainted=True)
    assert changes(wanted(promoted), seen(m=master, a=minion, b=minion)) == {to_master: ["a"]}
    to_minion = Change(frozenset({(MINION, "")}), frozenset({CONTROL_PLANE}), tainted=False)
    assert changes(wanted(cluster()), seen(m=master, a=master, b=minion)) == {to_minion: ["a"]}


def test_a_master_that_becomes_a_minion_too_takes_all_work() -> None:
    both = cluster(GROUPS | {"minions": ["m", "a", "b"]})
    there = seen(m=node(CONTROL_PLANE, tainted=True), a=node(MINION), b=node(MINION))
    assert changes(wanted(both), there) == {Change(frozenset({(MINION, "")}), tainted=False): ["m"]}
    alone = Change(removed=frozenset({MINION}), tainted=True)
    assert changes(wanted(cluster()), Seen({**there.nodes, "m": node(CONTROL_PLANE, MINION)}, {})) == {alone: ["m"]}


def test_a_label_is_changed_with_the_inventory_and_goes_only_if_that_gave_it() -> None:
    rest = {"m": node(CONTROL_PLANE, tainted=True), "b": node(MINION)}
    there = seen(**rest, a=node(MINION, disk="hdd"))
    assert changes(wanted(cluster(hosts=SSD)), there) == {Change(labels=frozenset({("disk", "ssd")})): ["a"]}
    assert changes(wanted(cluster()), there) == {}
    ours = seen({"a": frozenset({"disk"})}, **rest, a=node(MINION, disk="hdd"))
    assert changes(wanted(cluster()), ours) == {Change(removed=frozenset({"disk"})): ["a"]}


def test_what_was_given_is_known_of_nodes_that_the_inventory_does_not_have() -> None:
    there = seen({name: frozenset({"zone"}) for name in ("a", "b", "left", "gone")}, a=node(), b=node(), left=node())
    assert given(wanted(cluster(hosts=SSD)), there) == {"a": frozenset({"disk"}), "left": frozenset({"zone"})}


def test_a_master_that_is_not_registered_has_no_node() -> None:
    assert wanted(cluster(register_masters=False)).keys() == {"a", "b"}


def test_kubectl_is_called_once_for_all_nodes_that_need_the_same() -> None:
    change = Change(frozenset({("disk", "ssd"), ("b", "")}), frozenset({"zone"}), tainted=False)
    assert commands(change, ["a", "b"]) == [
        ["label", "--overwrite", "nodes", "a", "b", "b=", "disk=ssd", "zone-"],
        ["taint", "--overwrite", "nodes", "a", "b", f"{CONTROL_PLANE}:NoSchedule-"],
    ]
    assert commands(Change(tainted=True), ["m"]) == [
        ["taint", "--overwrite", "nodes", "m", f"{CONTROL_PLANE}:NoSchedule"]
    ]


def test_what_kubectl_prints_is_read() -> None:
    taints = [
        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"},
        {"key": CONTROL_PLANE, "effect": "NoSchedule"},
    ]
    there = read([("m", json.dumps(OTHERS), json.dumps(taints)), ("a", "", "")], '{"a": "disk zone"}')
    assert there == Seen({"m": NodeState(OTHERS, tainted=True), "a": NodeState({})}, {"a": frozenset({"disk", "zone"})})
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
