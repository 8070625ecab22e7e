"""Whether hosts are fit for the cluster of an inventory, judged from one look at each of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network

from kubekeel.cluster import Cluster, Node
from kubekeel.identity import Identity
from kubekeel.machine import OWN_RESOLV_CONF, Machine
from kubekeel.membership import Member, OnDisk
from kubekeel.needs import registered, runs_pods
from kubekeel.parts import CONTROL_PLANE, ETCD, former
from kubekeel.render import kernel_settings
from kubekeel.replaced import Held

COMMANDS = (
    *("awk", "base64", "find", "flock", "getent", "grep", "gunzip", "ip", "sed", "sha256sum", "ss", "sysctl", "tar"),
    *("timeout", "useradd", "xargs"),
)
"""What Kubekeel calls on a host and does not install."""

API_PORT = 6443

PACKAGE_MANAGERS = ("apt-get", "dnf", "zypper")
PACKAGES = {
    # flanneld clears away the rules of the other mode first, and does not start without iptables.
    "nftables": {"nft": "nftables", "iptables": "iptables", "ip6tables": "iptables", "modprobe": "kmod"},
    "iptables": {"iptables": "iptables", "ip6tables": "iptables", "modprobe": "kmod"},
}
"""What it installs where it is missing: by `kube_proxy_mode` the commands with their packages."""

DISKS = {"/opt": 1024, "/var/lib": 2048}
"""The MiB that must be free for a first run, by folder; later what a run brings must fit, and some to spare."""

FOLDERS = (
    *("/etc/cni", "/etc/containerd", "/etc/etcd", "/etc/flannel", "/etc/kubernetes", "/opt/cni", "/opt/kubekeel"),
    *("/var/lib/cni", "/var/lib/containerd", "/var/lib/etcd", "/var/lib/etcd-snapshots", "/var/lib/kubelet"),
    *("/var/lib/kube-proxy", "/var/log/kubernetes", "/var/log/pods"),
)
"""The folders that people put elsewhere by a link."""

_OLDEST_SYSTEMD = 248
_DEPLOY_TO_ALL = "deploy to all hosts: leave --limit and --exclude out this once"
_CONTROLLERS = frozenset({"cpu", "cpuset", "memory", "pids"})
_SPARE_DISK = 256
_CLOCK_TOLERANCE = 10
_LOOPBACK = "127.0.0.1"
_ANY = frozenset({"*", "0.0.0.0", "[::]"})
# Shorter ones are default routes in pieces, as VPNs make them.
_SHORTEST_PREFIX = 8


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket and its process; `ours` is one that Kubekeel brought here."""

    address: str
    port: int
    process: str
    ours: bool = False


@dataclass(frozen=True)
class Route:
    """A route of the host; `gateway` is empty where it needs none."""

    network: IPv4Network
    device: str
    gateway: str = ""


@dataclass(frozen=True)
class KernelSetting:
    """What a file of the host sets when that boots, or when somebody applies all such files."""

    file: str
    key: str
    value: str


@dataclass(frozen=True)
class HostSeen:
    """A host as a look found it.

    `memory` and `disks`, the room left by folder, are in MiB; `systemd` is the version of the one that runs, or 0.
    `sources` has the address it would send from, by the address of a member of etcd.
    `astray` has what a link in the place of one of FOLDERS leads to where that is no folder, by its path.
    `links` are those of its folder of binaries, by name.
    `clock_off` is by how many seconds at least its clock goes ahead of ours, or behind it. `installed` says that it
    has binaries of Kubekeel, `held_by` names another run that is at work on it. `etcd_takes_any_peer` says that its
    etcd does not ask other members for their name, as earlier versions did not. `identity` is what it shows of the
    cluster it belongs to, and `nodes` are those that its API server knows. `etcd` is what it holds of etcd,
    `etcd_keys` says that it has those of etcd's administrator, and `members` are those that a quorum knows, asked on
    this host: none where it does not answer there. `late_settings` are in files that are read after Kubekeel's own.
    `leftovers` are the marks there of parts that it is no longer to have, `balanced` the addresses that its balancer
    leads to. `held` are its binaries and images. `runs` are the versions that run there: of etcd, containerd and
    kubelet, and of a master's pods those that its manifests name.
    """

    machine: Machine
    kernel: str
    system: str
    systemd: int
    controllers: frozenset[str]
    commands: frozenset[str]
    swaps: tuple[str, ...]
    memory: int
    disks: Mapping[str, int]
    listeners: tuple[Listener, ...]
    clock_off: float
    machine_id: str
    product_uuid: str
    addresses: frozenset[str]
    routes: tuple[Route, ...]
    sources: Mapping[str, str]
    installed: bool
    held_by: str = ""
    astray: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    etcd_takes_any_peer: bool = False
    identity: Identity = field(default_factory=Identity)
    etcd: OnDisk = field(default_factory=lambda: OnDisk(data=False))
    etcd_keys: bool = False
    members: tuple[Member, ...] = ()
    late_settings: tuple[KernelSetting, ...] = ()
    nodes: frozenset[str] = frozenset()
    leftovers: frozenset[str] = frozenset()
    held: Held = field(default_factory=Held)
    balanced: frozenset[str] = frozenset()
    runs: Mapping[str, str] = field(default_factory=dict)


class Hindrance(Enum):
    """Why a host could not be looked at, and what to do."""

    AWAY = "cannot be reached", "start it, or correct its ssh_hostname; --exclude leaves it out"
    HOST_KEY = "shows another host key", "find out why; if it was reinstalled, remove the old key from known_hosts"
    LOGIN = "refuses the login", "correct ssh_user and ssh_key, or make your public key known to it"
    ROOT = (
        "gives no root rights",
        (
            "log in as root, or set _sudo = True and let ssh_user use sudo; where sudo asks for a password and /tmp is"
            " mounted noexec, set _temp_dir to another folder, too"
        ),
    )
    SILENT = "does not answer as a host does", "log in by ssh, and look what is wrong with it"


@dataclass(frozen=True)
class Unseen:
    """A host that could not be looked at; `said` is what there was instead of an answer."""

    hindrance: Hindrance
    said: str


Looks = Mapping[str, HostSeen | Unseen]
Arriving = Mapping[str, Mapping[str, int]]
"""The MiB that a run brings, by node and folder of DISKS."""

_Finding = tuple[str, object, str]
"""What is wrong, the value seen, and what to do."""


def faults(cluster: Cluster, looks: Looks, arriving: Arriving | None = None) -> list[str]:
    """All that keeps the nodes looked at from being used, a line each, in the order of the inventory."""
    found = [
        _line(node.name, finding)
        for node in cluster.nodes
        for finding in _host_faults(node, cluster, looks, (arriving or {}).get(node.name, {}))
    ]
    return found + [_line(names, finding) for names, finding in _common_faults(_seen(cluster, looks))]


def in_use(cluster: Cluster, looks: Looks) -> list[str]:
    """The nodes looked at that another run is at work on, a line each."""
    return [_line(node.name, finding) for node, host in _seen(cluster, looks).items() for finding in _lock_faults(host)]


def members_seen(cluster: Cluster, looks: Looks) -> dict[Node, tuple[Member, ...]]:
    """The members of etcd, by the nodes on which a quorum answered, in the order of the inventory."""
    return {node: host.members for node, host in _seen(cluster, looks).items() if host.members}


def warnings(cluster: Cluster, looks: Looks) -> list[str]:
    """What the nodes can be used with, but had better not have."""
    seen = _seen(cluster, looks)
    found = [_line(node.name, finding) for node, host in seen.items() for finding in _host_warnings(cluster, host)]
    remedy = "make new machines rather than copies"
    found += [
        _line(names, ("have the same product UUID", uuid, remedy))
        for uuid, names in _shared((node.name, host.product_uuid) for node, host in seen.items())
    ]
    return found + nodes_left(cluster, looks)


def nodes_left(cluster: Cluster, looks: Looks) -> list[str]:
    """The nodes that the API server knows and the inventory does not, a line each."""
    known_to = {name: master.name for master, host in _seen(cluster, looks).items() for name in host.nodes}
    return [
        _line(
            name,
            (
                "is a node of the cluster, but not in the inventory",
                f"seen on {known_to[name]}",
                f"put it back, or remove it: actions/remove_node.py --data node={name}",
            ),
        )
        for name in sorted(known_to.keys() - {node.name for node in cluster.nodes})
    ]


def _line(subject: str, finding: _Finding) -> str:
    problem, value, remedy = finding
    return f"{subject}: {problem} ({value}); {remedy}"


def _seen(cluster: Cluster, looks: Looks) -> dict[Node, HostSeen]:
    return {node: look for node in cluster.nodes if isinstance(look := looks.get(node.name), HostSeen)}


def _host_faults(node: Node, cluster: Cluster, looks: Looks, arriving: Mapping[str, int]) -> Iterator[_Finding]:
    match looks.get(node.name):
        case Unseen(hindrance, said):
            problem, remedy = hindrance.value
            yield problem, said, remedy
        case HostSeen(kernel=kernel) if not kernel.startswith("Linux "):
            yield "does not run Linux", kernel, "take another host"
        case HostSeen() as seen:
            yield from _lock_faults(seen)
            yield from _peer_faults(node, cluster, seen, looks)
            yield from _role_faults(node, cluster, seen, looks)
            yield from _system_faults(node, cluster, seen)
            yield from _resource_faults(node, seen, arriving)
            yield from _port_faults(node, cluster, seen)
            yield from _network_faults(node, cluster, seen)


def _lock_faults(seen: HostSeen) -> Iterator[_Finding]:
    if seen.held_by:
        yield "is at work for another run", seen.held_by, "wait until that ends; half a minute, if it died"


def _peer_faults(node: Node, cluster: Cluster, seen: HostSeen, looks: Looks) -> Iterator[_Finding]:
    # A member that asks for the name refuses those whose certificates are still of an earlier version.
    absent = _listed(member.name for member in cluster.etcd if member.name not in looks)
    if "etcd" in node.roles and seen.etcd_takes_any_peer and absent:
        remedy = "deploy to all members together: leave --limit and --exclude out this once"
        yield "is about to refuse members of etcd with certificates of an earlier version", absent, remedy


def _role_faults(node: Node, cluster: Cluster, seen: HostSeen, looks: Looks) -> Iterator[_Finding]:
    given_up = former(node, cluster, seen.leftovers)
    others = ", ".join(part.name for part in given_up if part != ETCD)
    masters = [master for master in cluster.masters if isinstance(looks.get(master.name), HostSeen)]
    if others and not masters:
        yield "still has parts of former roles, and no master is in this run", others, _DEPLOY_TO_ALL
    absent = _listed(other.name for other in cluster.nodes if runs_pods(other) and other.name not in looks)
    stays = seen.balanced & {master.address for master in cluster.masters}
    if CONTROL_PLANE in given_up and seen.balanced and not stays and absent:
        yield "is the last master that hosts outside of this run know", absent, _DEPLOY_TO_ALL


def _system_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[_Finding]:
    if not seen.systemd:
        yield "is not run by systemd", seen.system, "take a distribution that is, like Debian or Ubuntu"
    elif seen.systemd < _OLDEST_SYSTEMD:
        yield "has too old a systemd", seen.systemd, f"upgrade the distribution; {_OLDEST_SYSTEMD} is the oldest"
    nftables = cluster.kube_proxy_mode == "nftables"
    if nftables and _version(seen.kernel) < (5, 13):
        remedy = 'boot 5.13 or newer, or set kube_proxy_mode = "iptables"'
        yield "has too old a kernel for nftables", seen.kernel, remedy
    elif _version(seen.kernel) < (4, 19):
        yield "has too old a kernel", seen.kernel, "boot 4.19 or newer"
    if seen.machine.arch != node.arch:
        yield f"is not {node.arch}, as its arch says", seen.machine.arch, "correct arch in the inventory"
    if lacking := _CONTROLLERS - seen.controllers:
        yield "lacks cgroup controllers", _listed(lacking), "enable them on the kernel's command line"
    if lacking := frozenset(COMMANDS) - seen.commands:
        yield "lacks commands", _listed(lacking), "install them"
    lacking = frozenset(PACKAGES[cluster.kube_proxy_mode]) - seen.commands
    if lacking and not seen.commands.intersection(PACKAGE_MANAGERS):
        yield f"has no {', '.join(PACKAGE_MANAGERS)} for what it lacks", _listed(lacking), "install that by hand"


def _version(kernel: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", kernel)[:2]))


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


def _resource_faults(node: Node, seen: HostSeen, arriving: Mapping[str, int]) -> Iterator[_Finding]:
    for swap in seen.swaps:
        remedy = "swapoff -a, and take it out of /etc/fstab or of what makes it at boot, like zram-generator"
        yield "swaps, and kubelet refuses to start", swap, remedy
    # kubeadm's measures.
    memory = 1700 if "masters" in node.roles else 700
    if seen.memory < memory:
        yield f"has less than {memory} MiB of memory", f"{seen.memory} MiB", "give it more"
    for folder, free in seen.disks.items():
        wanted = _SPARE_DISK + arriving.get(folder, 0) if seen.installed else DISKS[folder]
        if free < wanted:
            yield f"has less than {wanted} MiB free in {folder}", f"{free} MiB", "make room"
    for folder, leads_to in seen.astray.items():
        yield f"has a link to no folder as {folder}", leads_to, "mount that, or remove the link"
    if abs(seen.clock_off) > _CLOCK_TOLERANCE:
        way = "ahead of" if seen.clock_off > 0 else "behind"
        yield f"has a clock {way} this machine's", f"{abs(seen.clock_off):.0f} s", "set both by NTP"


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


def _port_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[_Finding]:
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


def _network_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[_Finding]:
    if node.address not in seen.addresses:
        yield f"does not have its address {node.address}", _listed(seen.addresses), "correct address in the inventory"
    elif "etcd" in node.roles:
        yield from _source_faults(node, cluster, seen)
    for setting, network, route in _overlaps(cluster, seen):
        if not (seen.installed and (_is_wider(route, network) or _is_a_node_s(route, cluster))):
            yield f"has a route that overlaps {setting} {network}", _told(route), f"remove it, or move {setting}"


def _source_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[_Finding]:
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


def _common_faults(seen: Mapping[Node, HostSeen]) -> Iterator[tuple[str, _Finding]]:
    """Faults that hosts have together: their names, and the finding."""
    for name, names in _shared((node.name, host.machine.hostname) for node, host in seen.items()):
        yield names, ("have the same host name", name, "give each its own with hostnamectl set-hostname")
    for number, names in _shared((node.name, host.machine_id) for node, host in seen.items()):
        remedy = "correct ssh_hostname if they are one host; else empty /etc/machine-id of the copy and reboot it"
        yield names, ("have the same machine-id", number, remedy)
    for node, host in seen.items():
        for other in seen:
            if other.address != node.address and other.address in host.addresses:
                yield node.name, (f"has the address of {other.name}, too", other.address, "take it off one of them")


def _shared(values: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Each value that more than one host has, with their names."""
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in values:
        owners[value].append(name)
    for value, names in owners.items():
        if value and len(names) > 1:
            yield value, ", ".join(names)


def _host_warnings(cluster: Cluster, seen: HostSeen) -> Iterator[_Finding]:
    if seen.machine.resolv_conf == OWN_RESOLV_CONF and not seen.machine.name_servers:
        remedy = "pods find the cluster's own names alone; name one in /etc/resolv.conf that is not a loopback address"
        yield "has no name server that pods can use", "/etc/resolv.conf", remedy
    if not seen.machine.cgroup_v2:
        remedy = "boot with systemd.unified_cgroup_hierarchy=1"
        yield "uses cgroup v1, which Kubernetes is about to drop", seen.system, remedy
    ours = kernel_settings(seen.machine)
    for late in seen.late_settings:
        if (needed := ours.get(late.key, late.value)) != late.value:
            problem = f"has a kernel setting in {late.file} that overrules Kubekeel's"
            yield problem, f"{late.key} = {late.value}", f"take it out there; {needed} is needed"
    for setting, network, route in _overlaps(cluster, seen):
        if seen.installed and _is_wider(route, network):
            remedy = "pods do not reach what lies there"
            yield f"has a route that spans {setting} {network}", _told(route), remedy
        elif seen.installed and _is_a_node_s(route, cluster):
            remedy = "if that node left, flannel removes it within a day; if it never was one, remove the route"
            yield f"has a route to pods of no node of the inventory in {setting} {network}", _told(route), remedy
