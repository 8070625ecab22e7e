"""The cluster's Nodes: labels, annotations and taints of the inventory, and no Nodes of hosts without pods."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping

from pyinfra import host
from pyinfra.api import FactBase, StringCommand

from kubekeel.nodes import DRAINED, NodeState, Seen, changes, commands, new_record, read
from operations.converge import refuse
from operations.kubectl import KUBECTL

# Not on the Nodes: a node may change its own annotations, and some of the inventory's labels are forbidden to it.
_NOTE = "kubekeel-node-labels"
_COLUMNS = r'{"node\t"}{.metadata.name}{"\t"}{.metadata.labels}{"\t"}{.metadata.annotations}{"\t"}{.spec.taints}{"\n"}'

LOOK = f"""
nodes=$({KUBECTL} get nodes -o jsonpath='{{range .items[*]}}{_COLUMNS}{{end}}') &&
given=$({KUBECTL} -n kube-system get configmap {_NOTE} --ignore-not-found -o jsonpath='{{.data}}') &&
printf '%s\\ngiven\\t%s\\n' "$nodes" "$given"
true
"""


def read_look(lines: Iterable[str]) -> Seen | None:
    """Return the Nodes from the output of `LOOK`; None if the API did not answer."""
    rows = [line.split("\t") for line in lines]
    answers = [rest[0] for kind, *rest in rows if kind == "given"]
    nodes = [
        (name, labels, annotations, taints)
        for name, labels, annotations, taints in (rest for kind, *rest in rows if kind == "node")
    ]
    return read(nodes, answers[0]) if answers else None


class Nodes(FactBase[Seen | None]):
    """The present Nodes, and the keys that an inventory gave them."""

    @staticmethod
    def default() -> None:
        return None

    def command(self) -> str:
        return LOOK

    def process(self, output: Iterable[str]) -> Seen | None:
        return read_look(output)


def bring(
    wanted: Mapping[str, NodeState], left: Collection[str], changed: Collection[str], seen: Seen | None
) -> Iterator[StringCommand]:
    """Yield commands that bring Nodes to their `wanted` states, and delete the Nodes in `left`; none if all match.

    The Nodes in `changed` take pods again if this run or an interrupted one drained them. Without `seen` this looks
    first.
    """
    seen = seen or host.get_fact(Nodes)
    if seen is None:
        yield refuse(
            f"{host.name}: the API does not list its nodes; see `{KUBECTL} get nodes` there, then deploy again"
        )
        return
    before, after = seen.recorded, new_record(wanted, seen)
    # The note has all labels that an interrupted run may have given.
    meanwhile = {name: before.get(name, frozenset()) | after.get(name, frozenset()) for name in {**before, **after}}
    lines = [
        f"{KUBECTL} {shlex.join(arguments)}"
        for change, names in changes(wanted, seen).items()
        for arguments in commands(change, names)
    ]
    if drained := sorted(name for name in changed if DRAINED in seen.labels(name)):
        lines.append(f"{KUBECTL} uncordon {shlex.join(drained)}")
        lines.append(f"{KUBECTL} label nodes {shlex.join(drained)} {DRAINED}-")
    if gone := sorted(seen.nodes.keys() & set(left)):
        lines.append(f"{KUBECTL} delete nodes --ignore-not-found {shlex.join(gone)}")
    lines = [*_noted(meanwhile, before), *lines, *_noted(after, meanwhile)]
    if lines:
        yield StringCommand("\n".join(["set -e", *lines]))


def _noted(after: Mapping[str, frozenset[str]], before: Mapping[str, frozenset[str]]) -> Iterator[str]:
    if after == before:
        return
    if not after:
        yield f"{KUBECTL} -n kube-system delete configmap --ignore-not-found {_NOTE}"
        return
    note = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _NOTE, "namespace": "kube-system"},
        "data": {name: " ".join(sorted(labels)) for name, labels in sorted(after.items())},
    }
    apply = f"{KUBECTL} apply --server-side --force-conflicts --field-manager=kubekeel -f -"
    yield f"printf %s {shlex.quote(json.dumps(note))} | {apply}"
