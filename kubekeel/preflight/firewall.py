"""Whether a host's firewall lets traffic between pods and nodes through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kubekeel.cluster import Cluster, Node
from kubekeel.needs import has_flannel, registered, runs_pods
from kubekeel.preflight.network import reached
from kubekeel.preflight.seen import Chain, Finding, HostSeen


def firewall_findings(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    """Yield the traffic that a host's firewall would drop, with the commands that let it through."""
    brought = seen.brought
    if brought.firewalld is not None and (lacking := _sources(node, cluster) - brought.firewalld):
        options = " ".join(f"--add-source={source}" for source in sorted(lacking))
        remedy = f"firewall-cmd --permanent --zone=trusted {options} && firewall-cmd --reload"
        yield "has a firewall that drops traffic between pods and nodes", "firewalld", remedy
    if brought.ufw is not None and (rules := [rule for rule in _ufw(node, cluster) if rule not in brought.ufw]):
        remedy = " && ".join(f"ufw {rule}" for rule in rules)
        yield "has a firewall that drops traffic between pods and nodes", "ufw", remedy
    if brought.firewalld is None and brought.ufw is None:
        for chain in brought.drops:
            yield from _dropping(node, cluster, chain)


def _dropping(node: Node, cluster: Cluster, chain: Chain) -> Iterator[Finding]:
    if chain.hook == "forward" and has_flannel(node, cluster) and not _flannel_accepts(cluster, chain):
        yield f"drops pods' traffic by the {chain.by} of a chain", chain.label, _accepting(cluster, chain)


def _flannel_accepts(cluster: Cluster, chain: Chain) -> bool:
    """Return whether flannel puts its own rule at the end of this chain, and no rule before it drops everything."""
    ours = chain.family in ("ip", "iptables") and (chain.table, chain.name) == ("filter", "FORWARD")
    return cluster.kube_proxy_mode == "iptables" and ours and chain.by == "policy"


def _accepting(cluster: Cluster, chain: Chain) -> str:
    pods = cluster.pod_network
    if chain.family == "iptables":
        return f"iptables -I FORWARD -s {pods} -j ACCEPT && iptables -I FORWARD -d {pods} -j ACCEPT, and at each boot"
    rules = (f"nft insert rule {chain.label} ip {end} {pods} accept" for end in ("saddr", "daddr"))
    return f"{' && '.join(rules)}, and at each boot"


def firewall_warnings(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    """Yield chains that drop incoming traffic; their rules are not checked."""
    brought = seen.brought
    if brought.firewalld is None and brought.ufw is None and seen.is_bare:
        for chain in brought.drops:
            if chain.hook == "input":
                ports = ", ".join(f"{protocol.upper()} {port}" for protocol, port, _ in reached(node, cluster))
                senders = ["the other hosts"] if len(cluster.nodes) > 1 else []
                senders += [f"pods ({cluster.pod_network})"] if runs_pods(node) else []
                remedy = f"check that it accepts {ports} from {' and '.join(senders)}; actions/check.py tests hosts"
                yield f"drops incoming traffic by the {chain.by} of a chain", chain.label, remedy


def _sources(node: Node, cluster: Cluster) -> frozenset[str]:
    """Return the sources whose traffic a host must accept."""
    others = {other.address for other in cluster.nodes if other != node}
    return frozenset({*others, *([str(cluster.pod_network)] if runs_pods(node) else [])})


def _ufw(node: Node, cluster: Cluster) -> Sequence[str]:
    """Return the rules that a host needs, as ufw prints its rules."""
    rules = [f"allow from {source}" for source in sorted(_sources(node, cluster))]
    if registered(node, cluster):
        rules += [f"route allow from {cluster.pod_network}", f"route allow to {cluster.pod_network}"]
    if "masters" in node.roles:
        rules.append("allow 6443/tcp")
    return rules
