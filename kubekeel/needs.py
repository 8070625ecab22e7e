"""Which binaries and images each node runs."""

from __future__ import annotations

from collections.abc import Iterable

from kubekeel.artifacts import Needs
from kubekeel.cluster import Cluster, Node

STATIC_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")

ETCD = frozenset({"etcd", "etcdctl", "etcdutl"})
_PODS = frozenset(
    {
        *("containerd", "ctr", "containerd-shim-runc-v2", "runc", "crictl"),
        *("bridge", "host-local", "loopback", "portmap"),
        # Every node balances over the API servers by "etcd gateway", and compares its routes with flannel's leases.
        *("kubelet", "kubectl", "etcd", "etcdctl"),
    }
)
_IN_ORDER = (
    *("etcd", "etcdctl", "etcdutl", "flanneld"),
    *("containerd", "ctr", "containerd-shim-runc-v2", "runc", "crictl"),
    *("bridge", "host-local", "loopback", "portmap"),
    *("kubelet", "kubectl", "kube-proxy", "kube-network-policies"),
    *("pause", *STATIC_PODS, "coredns"),
)


def registered(node: Node, cluster: Cluster) -> bool:
    """Whether the node becomes a Node of the cluster."""
    return "minions" in node.roles or ("masters" in node.roles and cluster.register_masters)


def runs_pods(node: Node) -> bool:
    """Whether the node runs pods, even if only a master's static pods."""
    return bool(node.roles & {"masters", "minions"})


def has_flannel(node: Node, cluster: Cluster) -> bool:
    """Whether flannel gives the node's pods their network."""
    return runs_pods(node) and cluster.pod_network_provider == "flannel"


def has_kube_proxy(node: Node, cluster: Cluster) -> bool:
    """Whether kube-proxy routes the node's packets to services."""
    return registered(node, cluster) and cluster.kube_proxy_mode is not None


def holds_api_vip(node: Node, cluster: Cluster) -> bool:
    """Whether the node may hold the address of the API."""
    return "masters" in node.roles and cluster.api_vip is not None


def relays_etcd_metrics(node: Node, cluster: Cluster) -> bool:
    """Whether the node relays etcd's metrics to other hosts."""
    return "etcd" in node.roles and cluster.metrics


def relays_kube_proxy_metrics(node: Node, cluster: Cluster) -> bool:
    """Whether the node relays kube-proxy's metrics to other hosts."""
    return has_kube_proxy(node, cluster) and cluster.metrics


def relays_metrics(node: Node, cluster: Cluster) -> bool:
    """Whether the node relays metrics of components that do not authenticate clients themselves."""
    return relays_etcd_metrics(node, cluster) or relays_kube_proxy_metrics(node, cluster)


def has_network_policies(node: Node, cluster: Cluster) -> bool:
    """Whether network policies are enforced for the node's pods."""
    return registered(node, cluster) and cluster.network_policy is not None


def takes_addons(node: Node, cluster: Cluster) -> bool:
    """Whether add-ons may be scheduled on the node: masters run them if there are no minions."""
    return registered(node, cluster) and ("minions" in node.roles or not cluster.minions)


def needs(node: Node, cluster: Cluster) -> Needs:
    """Return the binaries and images that `node` needs for its roles."""
    binaries: set[str] = set()
    images: set[str] = set()
    if "etcd" in node.roles:
        binaries |= ETCD
    if runs_pods(node):
        binaries |= _PODS
        images.add("pause")
    if "masters" in node.roles:
        images |= set(STATIC_PODS)
    if has_flannel(node, cluster):
        binaries.add("flanneld")
    if has_kube_proxy(node, cluster):
        binaries.add("kube-proxy")
    if has_network_policies(node, cluster):
        binaries.add("kube-network-policies")
    if registered(node, cluster):
        images.add("coredns")
    if takes_addons(node, cluster):
        images |= {"metrics-server", *filter(None, [cluster.dashboard])}
    return Needs(node.arch, frozenset(binaries), frozenset(images))


def in_order_of_need(names: Iterable[str]) -> list[str]:
    """Return names of binaries or images in the order in which the lines of deploy.py need them, add-ons last."""
    return sorted(names, key=lambda name: (_IN_ORDER.index(name) if name in _IN_ORDER else len(_IN_ORDER), name))
