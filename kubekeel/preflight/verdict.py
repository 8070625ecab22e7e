"""The verdict on the hosts of a run: faults, which refuse it, and warnings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

from kubekeel.cluster import Cluster, Node
from kubekeel.membership import Member
from kubekeel.needs import has_flannel, registered, runs_pods
from kubekeel.parts import CONTROL_PLANE, ETCD, KUBE_PROXY, PODS, Part, former
from kubekeel.preflight import firewall, foreign, network, system
from kubekeel.preflight.seen import Arriving, Finding, HostSeen, Looks, Unseen, listed

_DEPLOY_TO_ALL = "deploy to all hosts: leave --limit and --exclude out this once"


def faults(cluster: Cluster, looks: Looks, arriving: Arriving | None = None) -> list[str]:
    """Return all faults of the nodes that were looked at, one line each, in the order of the inventory."""
    found = [
        line(node.name, finding)
        for node in cluster.nodes
        for finding in _host_faults(node, cluster, looks, (arriving or {}).get(node.name, {}))
    ]
    return found + [line(names, finding) for names, finding in _common_faults(_seen(cluster, looks))]


def in_use(cluster: Cluster, looks: Looks) -> list[str]:
    """Return the nodes that another run uses, one line each."""
    return [line(node.name, finding) for node, host in _seen(cluster, looks).items() for finding in _lock_faults(host)]


def members_seen(cluster: Cluster, looks: Looks) -> dict[Node, tuple[Member, ...]]:
    """Return the members of etcd by the nodes on which a quorum answered, in the order of the inventory."""
    return {node: host.members for node, host in _seen(cluster, looks).items() if host.members}


def warnings(cluster: Cluster, looks: Looks) -> list[str]:
    """Return the flaws that do not prevent the use of the nodes, one line each."""
    seen = _seen(cluster, looks)
    found = [line(node.name, finding) for node, host in seen.items() for finding in _host_warnings(node, cluster, host)]
    remedy = "make new machines rather than copies"
    found += [
        line(names, ("have the same product UUID", uuid, remedy))
        for uuid, names in _shared((node.name, host.product_uuid) for node, host in seen.items())
    ]
    return found + nodes_left(cluster, looks)


def nodes_left(cluster: Cluster, looks: Looks) -> list[str]:
    """Return the Nodes in the API that the inventory lacks, one line each."""
    known_to = {name: master.name for master, host in _seen(cluster, looks).items() for name in host.nodes}
    return [
        line(
            name,
            (
                "is a node of the cluster, but not in the inventory",
                f"seen on {known_to[name]}",
                f"put it back, or remove it: actions/remove_node.py --data node={name}",
            ),
        )
        for name in sorted(known_to.keys() - {node.name for node in cluster.nodes})
    ]


def line(subject: str, finding: Finding) -> str:
    """Return a finding as one line."""
    problem, value, remedy = finding
    return f"{subject}: {problem} ({value}); {remedy}"


def _seen(cluster: Cluster, looks: Looks) -> dict[Node, HostSeen]:
    return {node: look for node in cluster.nodes if isinstance(look := looks.get(node.name), HostSeen)}


def _host_faults(node: Node, cluster: Cluster, looks: Looks, arriving: Mapping[str, int]) -> Iterator[Finding]:
    match looks.get(node.name):
        case Unseen(hindrance, said):
            problem, remedy = hindrance.value
            yield problem, said, remedy
        case HostSeen(kernel=kernel) if not kernel.startswith("Linux "):
            yield "does not run Linux", kernel, "take another host"
        case HostSeen() as seen:
            yield from _lock_faults(seen)
            yield from _peer_faults(node, cluster, seen, looks)
            yield from _lease_faults(node, cluster, seen, looks)
            yield from _role_faults(node, cluster, seen, looks)
            yield from system.system_faults(node, cluster, seen)
            yield from system.resource_faults(node, seen, arriving)
            yield from network.port_faults(node, cluster, seen)
            yield from network.address_faults(node, cluster, seen)
            yield from foreign.foreign_faults(node, cluster, seen)
            if seen.is_bare:
                yield from firewall.firewall_findings(node, cluster, seen)


def _lock_faults(seen: HostSeen) -> Iterator[Finding]:
    if seen.held_by:
        remedy = "wait until that run ends; if it was interrupted, wait half a minute"
        yield "is in use by another run", seen.held_by, remedy


def _peer_faults(node: Node, cluster: Cluster, seen: HostSeen, looks: Looks) -> Iterator[Finding]:
    # A member that checks names refuses peers with certificates of an earlier version.
    absent = listed(member.name for member in cluster.etcd if member.name not in looks)
    if "etcd" in node.roles and seen.etcd_takes_any_peer and absent:
        remedy = "deploy to all members together: leave --limit and --exclude out this once"
        yield "would refuse members of etcd with certificates of an earlier version", absent, remedy


def _lease_faults(node: Node, cluster: Cluster, seen: HostSeen, looks: Looks) -> Iterator[Finding]:
    # The run reserves the subnet, and the right to its lease, on a member.
    members = [member.name for member in cluster.etcd]
    if has_flannel(node, cluster) and not seen.has_own_lease and not any(name in looks for name in members):
        remedy = f"add one: --limit {node.name} --limit {members[0]}"
        yield "has no subnet reserved in etcd yet, and no member of etcd is in this run", listed(members), remedy


def _role_faults(node: Node, cluster: Cluster, seen: HostSeen, looks: Looks) -> Iterator[Finding]:
    former_parts = former(node, cluster, seen.leftovers)
    others = ", ".join(part.name for part in former_parts if part != ETCD)
    masters = [master for master in cluster.masters if isinstance(looks.get(master.name), HostSeen)]
    if others and not masters:
        yield "still has parts of former roles, and no master is in this run", others, _DEPLOY_TO_ALL
    if masters:
        yield from _farewell_faults(node, cluster, former_parts, looks)
    absent = listed(other.name for other in cluster.nodes if runs_pods(other) and other.name not in looks)
    stays = seen.balanced & {master.address for master in cluster.masters}
    if CONTROL_PLANE in former_parts and seen.balanced and not stays and absent:
        yield "is the last master that hosts outside of this run know", absent, _DEPLOY_TO_ALL


def _farewell_faults(node: Node, cluster: Cluster, parts: Collection[Part], looks: Looks) -> Iterator[Finding]:
    """Yield what a host that loses these parts needs from the others, and they do not give."""
    seen, lost = _seen(cluster, looks), ", ".join(part.name for part in parts)
    remedy = "put it back into its groups and deploy, then make this change"
    if KUBE_PROXY in parts and not registered(node, cluster) and not any(each.serves_api for each in seen.values()):
        yield "stops being a Node, and no API server of this run's hosts serves to drain it", lost, remedy
    if PODS in parts and not members_seen(cluster, looks):
        absent = listed(member.name for member in cluster.etcd if member.name not in looks)
        remedy = _DEPLOY_TO_ALL if absent else remedy
        yield "gives its pods' network back, and no quorum of etcd answers on this run's hosts", lost, remedy


def _common_faults(seen: Mapping[Node, HostSeen]) -> Iterator[tuple[str, Finding]]:
    """Yield faults that concern several hosts: their names, and the finding."""
    for name, names in _shared((node.name, host.machine.hostname) for node, host in seen.items()):
        yield names, ("have the same host name", name, "give each its own with hostnamectl set-hostname")
    for number, names in _shared((node.name, host.machine_id) for node, host in seen.items()):
        remedy = "correct ssh_hostname if they are one host; else empty /etc/machine-id of the copy and reboot it"
        yield names, ("have the same machine-id", number, remedy)
    for node, host in seen.items():
        for other in seen:
            if other.address != node.address and other.address in host.addresses:
                yield node.name, (f"has the address of {other.name}, too", other.address, "remove it from one of them")


def _shared(values: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield each value that several hosts have, with the hosts' names."""
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in values:
        owners[value].append(name)
    for value, names in owners.items():
        if value and len(names) > 1:
            yield value, ", ".join(names)


def _host_warnings(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    yield from system.warnings(node, seen)
    yield from network.warnings(cluster, seen)
    yield from foreign.foreign_warnings(node, cluster, seen)
    yield from firewall.firewall_warnings(node, cluster, seen)
    # On a host of a running cluster these are only warnings.
    if not seen.is_bare:
        yield from firewall.firewall_findings(node, cluster, seen)
