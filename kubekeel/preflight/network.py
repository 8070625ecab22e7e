"""Whether a host's addresses, routes and ports fit its roles."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from kubekeel.cluster import Cluster, Node
from kubekeel.needs import has_flannel, has_kube_proxy, has_network_policies, registered, runs_pods
from kubekeel.preflight.seen import Finding, HostSeen, Route, Tunnel, listed
from kubekeel.render import ETCD_METRICS_PORT, KUBE_PROXY_METRICS_PORT
from kubekeel.settings.values import API_PORT

_LOOPBACK = "127.0.0.1"
# flannel's device, its VNI, and Linux' own VXLAN port, which flannel uses by default.
_OURS, _VNI, _VXLAN_PORT = "flannel.1", 1, 8472
# Programs that listen on all addresses of their host.
_EVERYWHERE = ("kube-apiserver", "kubelet", "flannel")
_ANY = frozenset({"*", "0.0.0.0", "[::]"})
# Routes with shorter prefixes are parts of a default route, which VPNs create.
_SHORTEST_PREFIX = 8


def reached(node: Node, cluster: Cluster) -> Iterator[tuple[str, int, str]]:
    """Yield the ports of a node that other hosts use: protocol, port, program."""
    if "etcd" in node.roles:
        yield from (("tcp", 2379, "etcd"), ("tcp", 2380, "etcd"))
    if "masters" in node.roles:
        yield "tcp", API_PORT, "kube-apiserver"
    if registered(node, cluster):
        yield "tcp", 10250, "kubelet"
    if has_flannel(node, cluster) and cluster.flannel_backend == "vxlan":
        yield "udp", _VXLAN_PORT, "flannel"
    if cluster.metrics:
        yield from (("tcp", port, user) for user, port in _metrics(node, cluster))


def _metrics(node: Node, cluster: Cluster) -> Iterator[tuple[str, int]]:
    """Yield the programs that serve metrics on a loopback address, or with `metrics` to other hosts, and their port."""
    if "etcd" in node.roles:
        yield "etcd", ETCD_METRICS_PORT
    if has_kube_proxy(node, cluster):
        yield "kube-proxy", KUBE_PROXY_METRICS_PORT
    if "masters" in node.roles:
        yield from (("kube-controller-manager", 10257), ("kube-scheduler", 10259))


def _ports(node: Node, cluster: Cluster) -> Iterator[tuple[str, str, int, str]]:
    """Yield the sockets that will listen on a node: protocol, address, port, program."""
    for protocol, port, user in reached(node, cluster):
        yield protocol, "*" if user in _EVERYWHERE else node.address, port, user
    yield from (("tcp", _LOOPBACK, port, user) for user, port in _metrics(node, cluster))
    if "etcd" in node.roles:
        yield "tcp", _LOOPBACK, 2379, "etcd"
    if runs_pods(node):
        yield from (("tcp", _LOOPBACK, 7443, "api-balancer"), ("tcp", _LOOPBACK, 10248, "kubelet"))
    if has_flannel(node, cluster):
        yield "tcp", _LOOPBACK, 8471, "flanneld"
    if has_kube_proxy(node, cluster):
        yield "tcp", "*", 10256, "kube-proxy"
    if has_network_policies(node, cluster):
        yield "tcp", _LOOPBACK, 9080, "kube-network-policies"


def port_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    in_use = {
        (listener.port, protocol, user, listener.process)
        for protocol, address, port, user in _ports(node, cluster)
        for listener in seen.listeners
        if (listener.protocol, listener.port) == (protocol, port)
        and not listener.ours
        and _collide(address, listener.address)
    }
    for port, protocol, user, process in sorted(in_use):
        name = f"UDP port {port}" if protocol == "udp" else f"port {port}"
        yield f"has {name} in use, which {user} needs", process, "stop that program, or move it to another port"
    if ("udp", _VXLAN_PORT, "flannel") in reached(node, cluster):
        for tunnel in seen.tunnels:
            if _clashes(tunnel):
                remedy = f"ip link delete {tunnel.device}, or give it another dstport where it is configured"
                yield f"has a device on UDP port {_VXLAN_PORT}, which flannel needs", tunnel.device, remedy


def _clashes(tunnel: Tunnel) -> bool:
    """Return whether this device makes the kernel refuse flannel's device; similar vxlan devices share a port."""
    if tunnel.device == _OURS or tunnel.port != _VXLAN_PORT:
        return False
    return tunnel.kind != "vxlan" or tunnel.apart or tunnel.number == _VNI


def _collide(one: str, other: str) -> bool:
    return one == other or bool(_ANY & {one, other})


def address_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    if node.address not in seen.addresses:
        yield f"does not have its address {node.address}", listed(seen.addresses), "correct address in the inventory"
    elif "etcd" in node.roles:
        yield from _source_faults(node, cluster, seen)
    if has_kube_proxy(node, cluster) and seen.no_route_to_services:
        device = "ip link add outward type dummy && ip link set outward up && ip route add default dev outward"
        remedy = f"give it a default route; where there is no gateway: {device}, and at each boot"
        yield "has no route to the addresses of services", str(cluster.service_network), remedy
    for setting, network, route in _overlaps(cluster, seen):
        if not (seen.installed and (_is_wider(route, network) or _is_a_node_s(route, cluster))):
            yield f"has a route that overlaps {setting} {network}", _shown(route), f"remove it, or move {setting}"


def _source_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    # A member refuses a peer whose source address is not in the peer's certificate (etcd's guide to its TLS).
    for member in cluster.etcd:
        source = seen.sources.get(member.address, node.address)
        if member != node and source != node.address:
            remedy = "put that address into the inventory, or make the host's own address the src of that route"
            yield f"reaches etcd on {member.name} from another address than its {node.address}", source, remedy


def _overlaps(cluster: Cluster, seen: HostSeen) -> Iterator[tuple[str, IPv4Network, Route]]:
    """Yield routes into the cluster's own networks, except flannel's routes."""
    nodes = {node.address for node in cluster.nodes}
    networks = {"pod_network": cluster.pod_network, "service_network": cluster.service_network}
    if seen.installed and cluster.pod_network_provider == "none":
        # Routes to pods belong to the network that the user installed.
        del networks["pod_network"]
    for route in seen.routes:
        ours = route.device in ("cni0", _OURS) or route.gateway in nodes
        if not ours and route.network.prefixlen >= _SHORTEST_PREFIX:
            yield from (
                (setting, network, route) for setting, network in networks.items() if route.network.overlaps(network)
            )


def _is_wider(route: Route, network: IPv4Network) -> bool:
    return route.network != network and route.network.supernet_of(network)


def _is_a_node_s(route: Route, cluster: Cluster) -> bool:
    """Return whether a route leads to one node's pods; host-gw has one for each lease, even of removed nodes."""
    return route.network.prefixlen == cluster.node_subnet_length and route.network.subnet_of(cluster.pod_network)


def _shown(route: Route) -> str:
    return " ".join(
        (str(route.network), *(("via", route.gateway) if route.gateway else ()), *filter(None, [route.device]))
    )


def warnings(cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    for setting, network, route in _overlaps(cluster, seen):
        if seen.installed and _is_wider(route, network):
            remedy = "pods do not reach hosts there"
            yield f"has a route that spans {setting} {network}", _shown(route), remedy
        elif seen.installed and _is_a_node_s(route, cluster):
            remedy = "if that node was removed, flannel deletes the route within a day; otherwise delete it"
            yield f"has a route in {setting} {network} for a node that is not in the inventory", _shown(route), remedy
