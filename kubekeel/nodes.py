"""Nodes as the API has them, their labels and taints: what an inventory wants, and what takes them there."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kubekeel.cluster import Cluster, Node
from kubekeel.needs import registered

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
"""A master's label, and the taint that keeps other work off it."""

DRAINED = "node-restriction.kubernetes.io/kubekeel-drained"
"""The label of a node that was drained for a change and is to take pods again after it; no node can give itself one."""

MINION = "node-role.kubernetes.io/minion"

# What kubelet takes of Kubernetes' own names (pkg/apis/well_known_labels.go in k8s.io/kubelet). A node that asked for
# more would be refused by NodeRestriction, so kubelet does not start with more.
_OF_KUBERNETES = re.compile(r"(.+\.)?(kubernetes|k8s)\.io")
_OF_KUBELET = re.compile(r"(.+\.)?(kubelet|node)\.kubernetes\.io")
_NAMED = frozenset(
    {
        *("topology.kubernetes.io/region", "topology.kubernetes.io/zone"),
        *("failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone"),
        "beta.kubernetes.io/instance-type",
    }
)


def kubelet_may_set(label: str) -> bool:
    """Whether a node may give itself this label."""
    prefix = label.rpartition("/")[0]
    return label in _NAMED or bool(_OF_KUBELET.fullmatch(prefix)) or not _OF_KUBERNETES.fullmatch(prefix)


@dataclass(frozen=True)
class NodeState:
    """A Node's labels, and whether it has the taint of masters."""

    labels: Mapping[str, str]
    tainted: bool = False


@dataclass(frozen=True)
class Seen:
    """The Nodes there are, and by node the labels that an inventory gave it: others are not ours to remove."""

    nodes: Mapping[str, NodeState]
    given: Mapping[str, frozenset[str]]

    def labels(self, name: str) -> Mapping[str, str]:
        """Those of a Node; none where there is no such Node."""
        return self.nodes[name].labels if name in self.nodes else {}


@dataclass(frozen=True)
class Change:
    """What several nodes need alike: labels to set, labels to remove, and the taint to have or not, None as it is."""

    labels: frozenset[tuple[str, str]] = frozenset()
    removed: frozenset[str] = frozenset()
    tainted: bool | None = None


def wanted(cluster: Cluster) -> dict[str, NodeState]:
    """What each node of the cluster is to have that becomes a Node."""
    return {node.name: _wanted(node) for node in cluster.nodes if registered(node, cluster)}


def _wanted(node: Node) -> NodeState:
    roles = {CONTROL_PLANE: "masters", MINION: "minions"}
    return NodeState(
        labels={**node.labels, **{label: "" for label, role in roles.items() if role in node.roles}},
        tainted=keeps_work_off(node),
    )


def keeps_work_off(node: Node) -> bool:
    """Whether the node is tainted: a master that is a minion, too, takes all work."""
    return "masters" in node.roles and "minions" not in node.roles


def read(nodes: Iterable[tuple[str, str, str]], given: str) -> Seen:
    """What kubectl printed: each Node's name, labels and taints, and who was given what, the last three as JSON."""
    return Seen(
        nodes={
            name: NodeState(
                json.loads(labels or "{}"),
                any(
                    (taint["key"], taint["effect"]) == (CONTROL_PLANE, "NoSchedule")
                    for taint in json.loads(taints or "[]")
                ),
            )
            for name, labels, taints in nodes
        },
        given={name: frozenset(labels.split()) for name, labels in json.loads(given or "{}").items()},
    )


def given(nodes: Mapping[str, NodeState], seen: Seen) -> dict[str, frozenset[str]]:
    """The labels that the inventory gives, by node; Nodes that it does not have keep theirs."""
    others = {name: labels for name, labels in seen.given.items() if name in seen.nodes.keys() - nodes.keys()}
    own = {name: frozenset(state.labels) - {CONTROL_PLANE, MINION} for name, state in nodes.items()}
    return {name: labels for name, labels in sorted({**others, **own}.items()) if labels}


def changes(nodes: Mapping[str, NodeState], seen: Seen) -> dict[Change, list[str]]:
    """The nodes by what they lack or have too much; those without a Node come later."""
    found = defaultdict(list)
    for name in sorted(nodes.keys() & seen.nodes.keys()):
        change = _change(nodes[name], seen.nodes[name], seen.given.get(name, frozenset()))
        if change != Change():
            found[change].append(name)
    return dict(found)


def _change(wanted: NodeState, seen: NodeState, given: frozenset[str]) -> Change:
    ours = {CONTROL_PLANE, MINION, *given}
    return Change(
        labels=frozenset(wanted.labels.items() - seen.labels.items()),
        removed=frozenset((ours & seen.labels.keys()) - wanted.labels.keys()),
        tainted=None if wanted.tainted == seen.tainted else wanted.tainted,
    )


def commands(change: Change, names: Iterable[str]) -> list[list[str]]:
    """kubectl's arguments that make a change on these nodes."""
    found = []
    labels = [f"{key}={value}" for key, value in sorted(change.labels)] + [f"{key}-" for key in sorted(change.removed)]
    if labels:
        found.append(["label", "--overwrite", "nodes", *names, *labels])
    if change.tainted is not None:
        found.append(
            ["taint", "--overwrite", "nodes", *names, f"{CONTROL_PLANE}:NoSchedule{'' if change.tainted else '-'}"]
        )
    return found
