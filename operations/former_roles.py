"""Removes the parts of roles that a host has lost; the keys go last, since they show unfinished removals."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import asdict
from pathlib import PurePosixPath

from pyinfra.api import StringCommand, operation

from kubekeel.cluster import Cluster, Node
from kubekeel.parts import CONTROL_PLANE, KUBE_PROXY, NETWORK_POLICIES, PODS, Part, remains
from kubekeel.settings.values import API_PORT
from operations.kubectl import KUBECTL
from operations.shell import run
from operations.wait import until

_ENDS = {
    CONTROL_PLANE: ("node/end-control-plane.sh",),
    KUBE_PROXY: ("node/undo.sh", "node/end-kube-proxy.sh"),
    NETWORK_POLICIES: ("node/undo.sh", "node/end-network-policies.sh"),
    PODS: ("node/undo.sh", "node/end-pods.sh"),
}
"""The scripts that end a part's processes outside systemd, and remove their rules and links from the kernel."""

_ANSWER_PATIENCE = 60


@operation()
def end(part: Part, node: Node, cluster: Cluster) -> Generator[StringCommand, None, None]:
    """End a part's processes on this host.

    A control plane ends only while another master's API server answers.
    """
    if part == CONTROL_PLANE:
        yield StringCommand(until(_others_answer(cluster), _ANSWER_PATIENCE, f"{node.name}: {_ALONE}"))
    marks = map(PurePosixPath, remains(part, node, cluster).marks)
    pods = [path.stem for path in marks if path.parent.name == "manifests"]
    yield run(_ENDS[part], node.name, str(cluster.pod_network), pods=pods)


@operation()
def remove(parts: Iterable[Part], node: Node, cluster: Cluster) -> Generator[StringCommand, None, None]:
    """Stop the units of these parts on this host, and remove their files."""
    for part in parts:
        yield run(("node/undo.sh", "node/remove-part.sh"), node.name, **asdict(remains(part, node, cluster)))


_ALONE = "stays a master, since no API server of another one answers"


def _others_answer(cluster: Cluster) -> str:
    """Return a shell condition: a master's API server is ready, or this host has no API server any more."""
    checks = (f"{KUBECTL} --server=https://{master.address}:{API_PORT} get --raw /readyz" for master in cluster.masters)
    return " || ".join(["[ ! -e /etc/kubernetes/manifests/kube-apiserver.yaml ]", *checks])
