"""Whether a host's addresses, routes and ports are those that its roles need."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from kubekeel.cluster import Cluster, Node
from kubekeel.needs import registered
from kubekeel.preflight.seen import Finding, HostSeen, Route, listed

API_PORT = 6443

_LOOPBACK = "127.0.0.1"
_ANY = frozenset({"*", "0.0.0.0", "[::]"})
# Shorter ones are default routes in pieces, as VPNs make them.
_SHORTEST_PREFIX = 8


def _ports(node: Node, cluster: Cluster) -> Iterator[tuple[str, int, str]]:
    """The sockets that will listen on a node: address, port, whose."""
    if "etcd" in node.roles:
        yield from ((node.address, 2379, "etcd"), (_LOOPBACK, 2379, "etcd"))
        yield from ((node.address, 2380, "etcd"), (_LOOPBACK, 2381, "etcd"))
    if node.roles & {"masters", "minions"}:
        yield from ((_LOOPBACK, 7443, "api-balancer"), (_LOOPBACK, 8471, "flanneld"), (_LOOPBACK, 10248, "kubelet"))
    if registered(node, cluster):
        yield from (("*", 10250, "kubelet"), (_LOOPBACK, 10249, "kube-proxy"), ("*", 10256, "kube-proxy"))
    if "masters" in node.roles:
        yield "*", API_PORT, "kube-apiserver"
        yield from ((_LOOPBACK, 10257, "kube-controller-manager"), (_LOOPBACK, 10259, "kube-scheduler"))


def port_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    taken = {
        (listener.port, user, listener.process)
        for address, port, user in _ports(node, cluster)
        for listener in seen.listeners
        if listener.port == port and not listener.ours and _collide(address, listener.address)
    }
    for port, user, process in sorted(taken):
        yield f"has port {port}, which {user} needs, taken", process, "stop that, or have it listen elsewhere"


def _collide(one: str, other: str) -> bool:
    return one == other or bool(_ANY & {one, other})


def address_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    if node.address not in seen.addresses:
        yield f"does not have its address {node.address}", listed(seen.addresses), "correct address in the inventory"
    elif "etcd" in node.roles:
        yield from _source_faults(node, cluster, seen)
    for setting, network, route in _overlaps(cluster, seen):
        if not (seen.installed and (_is_wider(route, network) or _is_a_node_s(route, cluster))):
            yield f"has a route that overlaps {setting} {network}", _told(route), f"remove it, or move {setting}"


def _source_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    # A member refuses another one that comes from an address its certificate does not have: etcd's guide to its TLS.
    for member in cluster.etcd:
        source = seen.sources.get(member.address, node.address)
        if member != node and source != node.address:
            remedy = "make that its address in the inventory, or the src of that route its address"
            yield f"reaches etcd on {member.name} from another address than its {node.address}", source, remedy


def _overlaps(cluster: Cluster, seen: HostSeen) -> Iterator[tuple[str, IPv4Network, Route]]:
    """Routes into the cluster's own networks, but for those that flannel makes."""
    nodes = {node.address for node in cluster.nodes}
    networks = {"pod_network": cluster.pod_network, "service_network": cluster.service_network}
    for route in seen.routes:
        ours = route.device in ("cni0", "flannel.1") or route.gateway in nodes
        if not ours and route.network.prefixlen >= _SHORTEST_PREFIX:
            yield from (
                (setting, network, route) for setting, network in networks.items() if route.network.overlaps(network)
            )


def _is_wider(route: Route, network: IPv4Network) -> bool:
    return route.network != network and route.network.supernet_of(network)


def _is_a_node_s(route: Route, cluster: Cluster) -> bool:
    """Whether it leads to one node's pods; with host-gw flannel has one for each lease, also of nodes that left."""
    return route.network.prefixlen == cluster.node_subnet_length and route.network.subnet_of(cluster.pod_network)


def _told(route: Route) -> str:
    return " ".join(
        (str(route.network), *(("via", route.gateway) if route.gateway else ()), *filter(None, [route.device]))
    )


def warnings(cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    for setting, network, route in _overlaps(cluster, seen):
        if seen.installed and _is_wider(route, network):
            remedy = "pods do not reach what lies there"
            yield f"has a route that spans {setting} {network}", _told(route), remedy
        elif seen.installed and _is_a_node_s(route, cluster):
            remedy = "if that node left, flannel removes it within a day; if it never was one, remove the route"
            yield f"has a route to pods of no node of the inventory in {setting} {network}", _told(route), remedy
