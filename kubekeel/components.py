"""What components of a node are given: a host's own settings over those of its cluster."""

from __future__ import annotations

from collections.abc import Mapping

from kubekeel.cluster import Cluster, Node
from kubekeel.settings.components import Arguments


def arguments(component: str, node: Node, cluster: Cluster) -> Arguments:
    """The arguments of kube-apiserver, kube-controller-manager, kube-scheduler or etcd that take the place of ours."""
    if component == "etcd":
        return {**cluster.etcd_arguments, **node.etcd_arguments}
    setting = component.replace("-", "_")
    gates = ",".join(f"{name}={str(on).lower()}" for name, on in sorted(cluster.feature_gates.items()))
    given: Arguments = {**getattr(cluster, setting), **getattr(node, setting)}
    return {**given, "feature-gates": (gates,)} if gates else given


def configuration(component: str, node: Node, cluster: Cluster) -> dict[str, object]:
    """The fields of kubelet's or kube-proxy's configuration that take the place of ours."""
    setting = component.replace("-", "_")
    given = merged(getattr(cluster, setting), getattr(node, setting))
    return {**given, "featureGates": dict(cluster.feature_gates)} if cluster.feature_gates else given


def merged(under: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Both in one, dict by dict; of all else that both have, what is `over` the other."""
    found = {**under, **over}
    for key in under.keys() & over.keys():
        below, above = under[key], over[key]
        if isinstance(below, Mapping) and isinstance(above, Mapping):
            found[key] = merged(below, above)
    return found
