"""Nodes as the API has them, their labels and taints: what an inventory wants, and what takes them there."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field

from kubekeel.cluster import Cluster, Node
from kubekeel.needs import registered

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
"""A master's label, and the taint that keeps other work off it."""

DRAINED = "node-restriction.kubernetes.io/kubekeel-drained"
"""The label of a node that was drained for a change and is to take pods again after it; no node can give itself one."""

MINION = "node-role.kubernetes.io/minion"
_MASTERS = f"{CONTROL_PLANE}:NoSchedule"
_OF_ROLES = frozenset({CONTROL_PLANE, MINION, f"taint={_MASTERS}"})

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
    """A Node's labels and annotations by key, and its taints by key and effect, like "dedicated:NoSchedule"."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: Mapping[str, str] = field(default_factory=dict)


KINDS = {"labels": "", "annotations": "annotation=", "taints": "taint="}
"""What a NodeState has, and how the note of what the inventory gave names each."""


@dataclass(frozen=True)
class Seen:
    """The Nodes there are, and by node what an inventory gave it, as the note has it: only that is ours to remove."""

    nodes: Mapping[str, NodeState]
    given: Mapping[str, frozenset[str]]

    def labels(self, name: str) -> Mapping[str, str]:
        """Those of a Node; none where there is no such Node."""
        return self.nodes[name].labels if name in self.nodes else {}


@dataclass(frozen=True)
class Edit:
    """What is set, by key and value, and what is removed, by key."""

    put: frozenset[tuple[str, str]] = frozenset()
    removed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Change:
    """What several nodes need alike."""

    labels: Edit = Edit()
    annotations: Edit = Edit()
    taints: Edit = Edit()


def wanted(cluster: Cluster) -> dict[str, NodeState]:
    """What each node of the cluster is to have that becomes a Node."""
    return {node.name: _wanted(node) for node in cluster.nodes if registered(node, cluster)}


def _wanted(node: Node) -> NodeState:
    roles = {CONTROL_PLANE: "masters", MINION: "minions"}
    return NodeState(
        labels={**node.labels, **{label: "" for label, role in roles.items() if role in node.roles}},
        annotations=node.annotations,
        taints=taints(node),
    )


def taints(node: Node) -> dict[str, str]:
    """Those of a node by key and effect, with that of its roles."""
    return {**node.taints, **({_MASTERS: ""} if keeps_work_off(node) else {})}


def keeps_work_off(node: Node) -> bool:
    """Whether the node is tainted: a master that is a minion, too, takes all work."""
    return "masters" in node.roles and "minions" not in node.roles


def read(nodes: Iterable[tuple[str, str, str, str]], given: str) -> Seen:
    """What kubectl printed: each Node's name, labels, annotations and taints, and who was given what, all as JSON."""
    return Seen(
        nodes={
            name: NodeState(json.loads(labels or "{}"), json.loads(annotations or "{}"), _taints(taints))
            for name, labels, annotations, taints in nodes
        },
        given={name: frozenset(keys.split()) for name, keys in json.loads(given or "{}").items()},
    )


def _taints(said: str) -> dict[str, str]:
    return {f"{taint['key']}:{taint['effect']}": taint.get("value", "") for taint in json.loads(said or "[]")}


def given(nodes: Mapping[str, NodeState], seen: Seen) -> dict[str, frozenset[str]]:
    """What the inventory gives, by node and as the note has it; Nodes that it does not have keep theirs."""
    others = {name: keys for name, keys in seen.given.items() if name in seen.nodes.keys() - nodes.keys()}
    own = {name: frozenset(_noted(state)) - _OF_ROLES for name, state in nodes.items()}
    return {name: keys for name, keys in sorted({**others, **own}.items()) if keys}


def _noted(state: NodeState) -> Iterator[str]:
    for kind, prefix in KINDS.items():
        yield from (f"{prefix}{key}" for key in getattr(state, kind))


def changes(nodes: Mapping[str, NodeState], seen: Seen) -> dict[Change, list[str]]:
    """The nodes by what they lack or have too much; those without a Node come later."""
    found = defaultdict(list)
    for name in sorted(nodes.keys() & seen.nodes.keys()):
        ours = _OF_ROLES | seen.given.get(name, frozenset())
        change = Change(**{kind: _edit(kind, nodes[name], seen.nodes[name], ours) for kind in KINDS})
        if change != Change():
            found[change].append(name)
    return dict(found)


def _edit(kind: str, wanted: NodeState, seen: NodeState, ours: Set[str]) -> Edit:
    want, have = getattr(wanted, kind), getattr(seen, kind)
    return Edit(
        put=frozenset(want.items() - have.items()),
        removed=frozenset(key for key in have.keys() - want.keys() if f"{KINDS[kind]}{key}" in ours),
    )


def commands(change: Change, names: Iterable[str]) -> list[list[str]]:
    """kubectl's arguments that make a change on these nodes."""
    edits = {"label": change.labels, "annotate": change.annotations, "taint": change.taints}
    return [
        [verb, "--overwrite", "nodes", *names, *_arguments(verb, edit)]
        for verb, edit in edits.items()
        if edit != Edit()
    ]


def _arguments(verb: str, edit: Edit) -> Iterator[str]:
    for key, value in sorted(edit.put):
        name, _, effect = key.partition(":")
        if verb != "taint":
            yield f"{key}={value}"
        else:
            yield f"{name}={value}:{effect}" if value else key
    yield from (f"{key}-" for key in sorted(edit.removed))
