"""Files and programs on a host that Kubekeel did not put there.

A run never touches them. If they conflict with Kubekeel's own, the run refuses the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import PurePosixPath

from kubekeel.cluster import Cluster, Node
from kubekeel.needs import (
    has_flannel,
    has_kube_proxy,
    has_network_policies,
    holds_api_vip,
    relays_etcd_metrics,
    relays_kube_proxy_metrics,
    runs_pods,
)
from kubekeel.preflight.seen import Finding, HostSeen, listed

UNITS = (
    *("containerd.service", "kubelet.service", "kube-proxy.service", "flanneld.service", "api-balancer.service"),
    *("kube-network-policies.service", "kubekeel-heal.service", "kubekeel-vip.service"),
    *("etcd.service", "etcd-snapshot.service"),
    *("kubekeel-etcd-metrics.service", "kubekeel-kube-proxy-metrics.service"),
)
"""The services that Kubekeel writes."""

_KUBERNETES = {
    **dict.fromkeys(("k3s.service", "k3s-agent.service"), "k3s"),
    **dict.fromkeys(("rke2-server.service", "rke2-agent.service"), "RKE2"),
    **dict.fromkeys(("k0scontroller.service", "k0sworker.service"), "k0s"),
    "snap.microk8s.daemon-kubelite.service": "MicroK8s",
    "snap.k8s.kubelet.service": "Canonical Kubernetes",
}
_DOCKER = "docker.service"
OTHERS = (*_KUBERNETES, _DOCKER)
"""The services of other programs that run containers."""

_OF_ETCD = ("/etc/etcd", "/var/lib/etcd")
_OF_PODS = (
    *("/etc/containerd/config.toml", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/kube-proxy"),
    *("/var/lib/cni", "/etc/flannel"),
)
FILLED = ("/etc/kubernetes", *_OF_ETCD, *_OF_PODS)
"""The folders that are empty on a host that never had Kubernetes."""

CNI = "10-flannel.conflist"
"""The configuration that Kubekeel writes into /etc/cni/net.d."""

_UNITS = "/etc/systemd/system/"
_NOT_OURS = "move it away, or take another host; Kubekeel deletes only its own files"


@cache
def _units(node: Node, cluster: Cluster) -> tuple[str, ...]:
    """Return the UNITS that the node gets."""
    wanted = {
        "etcd": "etcd" in node.roles,
        "etcd-snapshot": "etcd" in node.roles,
        "kube-proxy": has_kube_proxy(node, cluster),
        "kube-network-policies": has_network_policies(node, cluster),
        "flanneld": has_flannel(node, cluster),
        "kubekeel-etcd-metrics": relays_etcd_metrics(node, cluster),
        "kubekeel-kube-proxy-metrics": relays_kube_proxy_metrics(node, cluster),
        "kubekeel-vip": holds_api_vip(node, cluster),
    }
    return tuple(unit for unit in UNITS if wanted.get(PurePosixPath(unit).stem, runs_pods(node)))


def foreign_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    """Yield the faults of a host that another program or installation uses or used."""
    brought = seen.brought
    for unit in _units(node, cluster):
        if path := brought.units.get(unit):
            yield f"has a unit {unit} that is not Kubekeel's", path, "remove the package or program that installed it"
    for each in brought.drop_ins:
        if each.replaces and each.unit in _units(node, cluster):
            yield f"has a drop-in that replaces what {each.unit} starts", each.path, "remove it"
    if brought.user_without_group:
        yield "has a user etcd and no group etcd", "/etc/group", "groupadd --system etcd, and make it the user's group"
    if "etcd" in node.roles and _has_never_been(seen, "etcd"):
        yield from _data(seen, _OF_ETCD)
    if runs_pods(node) and _has_never_been(seen, "masters", "minions"):
        yield from _data(seen, _OF_PODS)
        yield from _runtime_faults(node, cluster, seen)
    if seen.is_bare:
        yield from _data(seen, ["/etc/kubernetes"])
        if files := [path for path in brought.replaced if not path.startswith((*brought.filled, _UNITS))]:
            yield "has files that Kubekeel would replace", listed(files), _NOT_OURS


def _has_never_been(seen: HostSeen, *roles: str) -> bool:
    """Return whether a host has had none of these roles; a host without a record counts as having had all."""
    return seen.is_bare or bool(seen.identity.roles and not seen.identity.roles.intersection(roles))


def _data(seen: HostSeen, places: Iterable[str]) -> Iterator[Finding]:
    for place in places:
        if file := seen.brought.filled.get(place):
            yield f"has a file in {place} that is not Kubekeel's", file, _NOT_OURS


def _runtime_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    brought = seen.brought
    for unit in sorted(brought.others):
        if unit in _KUBERNETES:
            yield (
                f"is a node of {_KUBERNETES[unit]}",
                unit,
                "uninstall it as its documentation says, or take another host",
            )
    if brought.cni and has_flannel(node, cluster):
        yield "has CNI configurations that are not Kubekeel's", listed(brought.cni), "remove them from /etc/cni/net.d"
    if brought.mounts:
        yield "has volumes of an earlier kubelet mounted", listed(brought.mounts), "unmount them, or reboot it"
    if brought.devices:
        remedy = "delete each (ip link delete NAME), or reboot the host"
        yield "has devices of another pod network", listed(brought.devices), remedy
    if brought.rules:
        remedy = "reboot it; if they come back, find the program that makes them"
        yield "has kernel rules of another pod network", listed(brought.rules), remedy


def foreign_warnings(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    brought = seen.brought
    for each in brought.drop_ins:
        if not each.replaces and each.unit in _units(node, cluster):
            yield f"has a drop-in that changes {each.unit}", each.path, "check that it fits what Kubekeel starts"
    if not runs_pods(node):
        return
    if _DOCKER in brought.others:
        remedy = "Kubernetes does not see its containers, which use the same kernel, disk and memory"
        yield "runs Docker, too", _DOCKER, remedy
    if not _has_never_been(seen, "masters", "minions"):
        for unit in sorted(brought.others & _KUBERNETES.keys()):
            yield f"has {_KUBERNETES[unit]} installed, too", unit, "uninstall it as its documentation says"
        first = [name for name in brought.cni if name < CNI]
        if first and has_flannel(node, cluster):
            remedy = f"containerd uses the first file in /etc/cni/net.d; Kubekeel's is {CNI}"
            yield "has a CNI configuration that comes before Kubekeel's", listed(first), remedy
