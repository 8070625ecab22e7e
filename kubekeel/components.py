"""The arguments and configuration of a node's components: a host's own settings over those of its cluster."""

from __future__ import annotations

from collections.abc import Mapping

from kubekeel.cluster import Cluster, Node
from kubekeel.settings.components import Arguments


def arguments(component: str, node: Node, cluster: Cluster) -> Arguments:
    """Return the user's arguments of kube-apiserver, kube-controller-manager, kube-scheduler or etcd.

    They replace Kubekeel's own.
    """
    if component == "etcd":
        return {**cluster.etcd_arguments, **node.etcd_arguments}
    setting = component.replace("-", "_")
    gates = ",".join(f"{name}={str(on).lower()}" for name, on in sorted(cluster.feature_gates.items()))
    found: Arguments = {**getattr(cluster, setting), **getattr(node, setting)}
    return {**found, "feature-gates": (gates,)} if gates else found


def configuration(component: str, node: Node, cluster: Cluster) -> dict[str, object]:
    """Return the user's fields of kubelet's or kube-proxy's configuration, which replace Kubekeel's own."""
    setting = component.replace("-", "_")
    fields = merged(getattr(cluster, setting), getattr(node, setting))
    return {**fields, "featureGates": dict(cluster.feature_gates)} if cluster.feature_gates else fields


def merged(under: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Return both dicts merged recursively; a value of `over` replaces a value of `under`."""
    found = {**under, **over}
    for key in under.keys() & over.keys():
        below, above = under[key], over[key]
        if isinstance(below, Mapping) and isinstance(above, Mapping):
            found[key] = merged(below, above)
    return found
