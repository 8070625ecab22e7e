"""The labels, annotations and taints of Nodes, desired and observed, and the changes between them."""

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
"""The label of a node that is drained for a change and takes pods again afterwards; nodes cannot set it themselves."""

TAKEN_OUT = "/etc/kubekeel/drained"
"""The file on a host whose node is drained for a change: a run that finds it lets the node take pods again."""

MINION = "node-role.kubernetes.io/minion"
_MASTERS = f"{CONTROL_PLANE}:NoSchedule"
_OF_ROLES = frozenset({CONTROL_PLANE, MINION, f"taint={_MASTERS}"})

# Kubernetes' own label names that kubelet accepts (pkg/apis/well_known_labels.go in k8s.io/kubelet). NodeRestriction
# refuses others, and kubelet does not start with them.
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
    """Return whether a node may set this label on itself."""
    prefix = label.rpartition("/")[0]
    return label in _NAMED or bool(_OF_KUBELET.fullmatch(prefix)) or not _OF_KUBERNETES.fullmatch(prefix)


@dataclass(frozen=True)
class NodeState:
    """A Node's labels and annotations by key, and its taints by key and effect, like "dedicated:NoSchedule"."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: Mapping[str, str] = field(default_factory=dict)


KINDS = {"labels": "", "annotations": "annotation=", "taints": "taint="}
"""The fields of a NodeState, and the prefix of each field's keys in the record of keys that an inventory set."""


@dataclass(frozen=True)
class Seen:
    """The Nodes in the API, and by node the record of keys that an inventory set: Kubekeel removes only these keys."""

    nodes: Mapping[str, NodeState]
    recorded: Mapping[str, frozenset[str]]

    def labels(self, name: str) -> Mapping[str, str]:
        """Return a Node's labels; empty if there is no such Node."""
        return self.nodes[name].labels if name in self.nodes else {}


@dataclass(frozen=True)
class Edit:
    """Entries to set, by key and value, and entries to remove, by key."""

    put: frozenset[tuple[str, str]] = frozenset()
    removed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Change:
    """A change that several nodes need."""

    labels: Edit = Edit()
    annotations: Edit = Edit()
    taints: Edit = Edit()


def wanted(cluster: Cluster) -> dict[str, NodeState]:
    """Return the desired state of the Node of each registered node."""
    return {node.name: _wanted(node) for node in cluster.nodes if registered(node, cluster)}


def _wanted(node: Node) -> NodeState:
    roles = {CONTROL_PLANE: "masters", MINION: "minions"}
    return NodeState(
        labels={**node.labels, **{label: "" for label, role in roles.items() if role in node.roles}},
        annotations=node.annotations,
        taints=taints(node),
    )


def taints(node: Node) -> dict[str, str]:
    """Return a node's taints by key and effect, including its role's."""
    return {**node.taints, **({_MASTERS: ""} if keeps_work_off(node) else {})}


def keeps_work_off(node: Node) -> bool:
    """Return whether the node is tainted: a master that is also a minion takes all work."""
    return "masters" in node.roles and "minions" not in node.roles


def read(nodes: Iterable[tuple[str, str, str, str]], record: str) -> Seen:
    """Parse kubectl's output: each Node's name, labels, annotations and taints, and the record, all as JSON."""
    return Seen(
        nodes={
            name: NodeState(json.loads(labels or "{}"), json.loads(annotations or "{}"), _taints(taints))
            for name, labels, annotations, taints in nodes
        },
        recorded={name: frozenset(keys.split()) for name, keys in json.loads(record or "{}").items()},
    )


def _taints(text: str) -> dict[str, str]:
    return {f"{taint['key']}:{taint['effect']}": taint.get("value", "") for taint in json.loads(text or "[]")}


def new_record(nodes: Mapping[str, NodeState], seen: Seen) -> dict[str, frozenset[str]]:
    """Return the new record of keys that the inventory sets, by node; Nodes outside the inventory keep their record."""
    others = {name: keys for name, keys in seen.recorded.items() if name in seen.nodes.keys() - nodes.keys()}
    own = {name: frozenset(_noted(state)) - _OF_ROLES for name, state in nodes.items()}
    return {name: keys for name, keys in sorted({**others, **own}.items()) if keys}


def _noted(state: NodeState) -> Iterator[str]:
    for kind, prefix in KINDS.items():
        yield from (f"{prefix}{key}" for key in getattr(state, kind))


def changes(nodes: Mapping[str, NodeState], seen: Seen) -> dict[Change, list[str]]:
    """Return the nodes by the change that they need; nodes without a Node are left out."""
    found = defaultdict(list)
    for name in sorted(nodes.keys() & seen.nodes.keys()):
        ours = _OF_ROLES | seen.recorded.get(name, frozenset())
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
    """Return the arguments of each kubectl call that makes a change on these nodes."""
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
