"""An inventory's hosts and settings, checked as a whole, as one immutable Cluster."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from glob import glob
from ipaddress import IPv4Address
from pathlib import Path

from kubekeel.release import ARCHITECTURES, Release, release
from kubekeel.settings import Reader, line, names, optional, required
from kubekeel.settings.groups import (
    NOWHERE,
    Access,
    Addons,
    Artifacts,
    ClusterComponents,
    Components,
    Networks,
    Registries,
    Upgrades,
)
from kubekeel.settings.values import address, annotated, label, labels, maintenance, node_name, one_of, taints

ROLES = ("etcd", "masters", "minions")

_DNS_SERVICE = 10
"""The DNS service has the tenth address of the service network, by custom of Kubernetes installers."""


@dataclass(frozen=True)
class Node(Components):
    """One host; `roles` are the names of its groups; its Node gets the `labels`, `annotations` and `taints`.

    While it is in `maintenance`, runs leave it out; it stays a node of the cluster.
    The keys of `taints` have the effect, like "dedicated:NoSchedule".
    """

    name: str
    address: str = required(address, "")
    arch: str = optional(one_of(ARCHITECTURES, "has an arch that "), "amd64")
    roles: frozenset[str] = frozenset()
    labels: Mapping[str, str] = optional(labels, {})
    annotations: Mapping[str, str] = optional(annotated, {})
    taints: Mapping[str, str] = optional(taints, {})
    maintenance: bool = optional(maintenance, False)

    @property
    def client_url(self) -> str:
        """The URL of this host's member of etcd for clients."""
        return f"https://{self.address}:2379"

    @property
    def peer_url(self) -> str:
        """The URL of this host's member of etcd for the other members."""
        return f"https://{self.address}:2380"


def endpoints(nodes: Iterable[Node]) -> str:
    """Return the client URLs of these hosts' members of etcd, separated by commas."""
    return ",".join(node.client_url for node in nodes)


@dataclass(frozen=True, kw_only=True)
class Cluster(Artifacts, Registries, Upgrades, Networks, Access, Addons, ClusterComponents):
    """A checked cluster; `nodes` are in the order of the inventory.

    Files that settings name are found from `folder`.
    """

    name: str = required(label, "", name="cluster_name")
    nodes: tuple[Node, ...]
    folder: Path = Path()

    @cached_property
    def release(self) -> Release:
        """The components and images of this cluster's versions."""
        return release(self.kubernetes_version, self.versions)

    @property
    def etcd(self) -> tuple[Node, ...]:
        return self._with_role("etcd")

    @property
    def masters(self) -> tuple[Node, ...]:
        return self._with_role("masters")

    @property
    def minions(self) -> tuple[Node, ...]:
        return self._with_role("minions")

    @property
    def in_maintenance(self) -> frozenset[str]:
        """The names of the nodes in maintenance: runs leave their hosts out."""
        return frozenset(node.name for node in self.nodes if node.maintenance)

    @property
    def dns_address(self) -> str:
        return str(self.service_network[_DNS_SERVICE])

    @property
    def api_service_address(self) -> str:
        return str(self.service_network[1])

    @property
    def api_names(self) -> tuple[str, ...]:
        """The names and addresses of the API from settings, without the masters' own."""
        endpoint = self.api_endpoint.partition(":")[0]
        return tuple(dict.fromkeys(filter(None, (*self.extra_api_names, endpoint, self.api_vip))))

    @property
    def etcd_endpoints(self) -> str:
        """The client URLs of all members, separated by commas."""
        return endpoints(self.etcd)

    @property
    def etcd_initial_cluster(self) -> str:
        """The peer URLs of all members, as etcd's --initial-cluster takes them."""
        return ",".join(f"{node.name}={node.peer_url}" for node in self.etcd)

    def node(self, name: str) -> Node:
        """Return the node called `name`; KeyError if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def files(self, pattern: str) -> list[Path]:
        """Return the files that match a setting's pattern, sorted."""
        return sorted(map(Path, glob(str(self.folder / pattern))))

    def supplied_from(self, source: str) -> Cluster:
        """Return this cluster with artifacts from `source`, and with the dashboard that `source` has.

        kube-web-view is visible to every pod, so "auto" never selects it.
        """
        dashboard = self.dashboard
        if dashboard == "auto":
            dashboard = None if source == "source" else "headlamp"
        return replace(self, artifact_source=source, dashboard=dashboard)

    def _with_role(self, role: str) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if role in node.roles)


_COMPONENTS = names(Components)
HOST_KEYS = names(Node)
SETTINGS = (*names(Cluster), "state_dir")


def quorum(members: int) -> int:
    """Return how many of `members` members of etcd must be up for etcd to serve."""
    return members // 2 + 1


class InventoryError(Exception):
    """All faults of an inventory, one line each."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


def load(
    groups: Mapping[str, Sequence[str]],
    hosts: Mapping[str, Mapping[str, object]],
    settings: Mapping[str, object],
    folder: Path = Path(),
) -> Cluster:
    """Return the cluster that the groups of host names, each host's own data and the settings describe.

    Files that they name are found from `folder`. Data for pyinfra itself (`ssh_*` and `_*`) are ignored.
    Raises InventoryError with all faults.
    """
    reader = Reader()
    roles = {name: frozenset(role for role in ROLES if name in groups.get(role, ())) for name in hosts}
    nodes = tuple(_node(reader, name, roles[name], data) for name, data in hosts.items())
    cluster = Cluster(nodes=nodes, folder=folder, **reader.values(Cluster, settings))
    faults = [
        *_group_faults(groups, cluster),
        *_maintenance_faults(cluster),
        *_key_faults(hosts, settings),
        *reader.faults,
        *_mirror_faults(cluster),
        *_server_faults(cluster, settings),
        *_name_faults(cluster),
        *_network_faults(cluster),
        *_provider_faults(cluster),
        *_room_faults(cluster),
        *_dns_faults(cluster),
        *_metrics_faults(cluster),
        *_file_faults(cluster),
    ]
    if faults:
        raise InventoryError(faults)
    return cluster


def _node(reader: Reader, name: str, roles: frozenset[str], data: Mapping[str, object]) -> Node:
    def subject(setting: str) -> str:
        return f"{name}: {setting}" if setting in _COMPONENTS else name

    read = reader.values(Node, {"address": None, **data}, subject)
    return Node(reader.value(name, name, node_name, name), roles=roles, **read)


def _group_faults(groups: Mapping[str, Sequence[str]], cluster: Cluster) -> Iterator[str]:
    for group in sorted(set(groups) - set(ROLES)):
        remedy = _hint(group, ROLES, f"the groups are {', '.join(ROLES)}; start other names with '_'")
        yield line(f"group {group}", "is unknown", ", ".join(groups[group]) or "no host", remedy)
    grouped = {name for names in groups.values() for name in names}
    for node in cluster.nodes:
        if node.name not in grouped:
            yield f"{node.name}: is in no group; put it into {', '.join(ROLES)}, or remove it"
    for role in ("etcd", "masters"):
        if not cluster._with_role(role):
            yield f"{role}: has no host; put one in"
    if not (cluster.register_masters or cluster.minions):
        yield "minions: has no host, and masters are not registered; add one or set register_masters = True"


def _maintenance_faults(cluster: Cluster) -> Iterator[str]:
    absent = sorted(cluster.in_maintenance)
    for role, needed in (("masters", 1), ("etcd", quorum(len(cluster.etcd)))):
        left = [node for node in cluster._with_role(role) if not node.maintenance]
        if absent and len(left) < needed:
            remedy = f"end the maintenance of a host that is up; at least {needed} must be in the run"
            yield line(role, "has too few hosts that are not in maintenance", ", ".join(absent), remedy)


def _mirror_faults(cluster: Cluster) -> Iterator[str]:
    if cluster.artifact_source == "mirror" and cluster.artifact_mirror is None:
        yield line("artifact_mirror", "names no mirror", None, "give the mirror's folder or base URL")


def _server_faults(cluster: Cluster, settings: Mapping[str, object]) -> Iterator[str]:
    # A refused value of artifact_server has its own fault already.
    if cluster.artifact_delivery == "pull" and settings.get("artifact_server") is None:
        remedy = "give the base URL of the folder that `python3 -m run.publish` fills"
        yield line("artifact_server", "names no web server", None, remedy)
    if cluster.artifact_server_ca and (cluster.artifact_server or "").startswith("http:"):
        yield line(
            "artifact_server_ca", "has no effect without TLS", cluster.artifact_server, "leave it out, or use https"
        )


def _name_faults(cluster: Cluster) -> Iterator[str]:
    for node in cluster.nodes:
        if "masters" not in node.roles and node.name in cluster.api_names:
            setting = "extra_api_names" if node.name in cluster.extra_api_names else "api_endpoint"
            yield line(setting, "holds the name of a host that is not a master", node.name, "take another one")


def _key_faults(hosts: Mapping[str, Mapping[str, object]], settings: Mapping[str, object]) -> Iterator[str]:
    for name, data in hosts.items():
        for key in sorted(filter(_is_ours, data.keys() - set(HOST_KEYS))):
            if key in SETTINGS:
                yield f"{name}: {key} is a setting of the whole cluster; set it in group_data/all.py"
            else:
                yield line(name, "unknown key", key, _hint(key, HOST_KEYS, "remove it"))
    for key in sorted(filter(_is_ours, settings.keys() - set(SETTINGS))):
        if key in HOST_KEYS:
            yield f"{key}: belongs to a host; set it in the host's own dict"
        else:
            yield f"{key}: unknown setting; {_hint(key, SETTINGS, 'remove it')}"


def _is_ours(key: str) -> bool:
    return not key.startswith(("_", "ssh_"))


def _hint(name: str, known: Sequence[str], otherwise: str) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else otherwise


def _network_faults(cluster: Cluster) -> Iterator[str]:
    yield from _address_faults(cluster)
    pods, services = cluster.pod_network, cluster.service_network
    if services is not NOWHERE:
        if not 12 <= services.prefixlen <= 28:
            yield line("service_network", "has an unsuitable size", services, "take a length from /12 to /28")
        if pods.overlaps(services):
            yield line("service_network", f"overlaps pod_network {pods}", services, "take another range")
    if pods is not NOWHERE and cluster.node_subnet_length:
        # flannel asks for room for four subnets, and leaves the first one free.
        spare = cluster.node_subnet_length - pods.prefixlen
        if spare < 2 or 2**spare - 1 < len(cluster.nodes):
            yield line(
                "node_subnet_length",
                f"leaves too few subnets in {pods} for {len(cluster.nodes)} hosts",
                cluster.node_subnet_length,
                "take a longer one, or a larger pod_network",
            )


def _provider_faults(cluster: Cluster) -> Iterator[str]:
    if cluster.pod_network_provider == "flannel" and cluster.kube_proxy_mode is None:
        remedy = (
            'take "nftables" or "iptables"; to install a network that replaces both, set pod_network_provider = "none"'
        )
        yield line("kube_proxy_mode", "leaves flannel's pods without services", None, remedy)
    if cluster.pod_network_provider == "none" and cluster.network_policy:
        remedy = "remove it: the network that you install has to enforce policies"
        yield line("network_policy", "works with flannel only", cluster.network_policy, remedy)
    # Without flannel, kube-controller-manager gives nodes their networks, at most 2^16.
    if cluster.pod_network_provider == "none" and cluster.node_subnet_length - cluster.pod_network.prefixlen > 16:
        remedy = f"take {cluster.pod_network.prefixlen + 16} at most"
        yield line("node_subnet_length", "makes too many subnets", cluster.node_subnet_length, remedy)


def _room_faults(cluster: Cluster) -> Iterator[str]:
    addresses = 2 ** (32 - cluster.node_subnet_length) - 3
    configurations = {
        "kubelet.maxPods": cluster.kubelet,
        **{f"{node.name}: kubelet.maxPods": node.kubelet for node in cluster.nodes},
    }
    for subject, kubelet in configurations.items():
        most = kubelet.get("maxPods", 0)
        if cluster.node_subnet_length and isinstance(most, int) and most > addresses:
            yield line(subject, f"is more than the {addresses} addresses that a node has for pods", most, "lower it")


def _metrics_faults(cluster: Cluster) -> Iterator[str]:
    owners: list[tuple[str, Components]] = [("", cluster), *((f"{node.name}: ", node) for node in cluster.nodes)]
    for where, owner in owners if cluster.metrics else ():
        conflicting = {
            "kube_controller_manager.bind-address": ", ".join(owner.kube_controller_manager.get("bind-address", ())),
            "kube_scheduler.bind-address": ", ".join(owner.kube_scheduler.get("bind-address", ())),
            "kube_proxy.metricsBindAddress": owner.kube_proxy.get("metricsBindAddress"),
        }
        for setting, seen in conflicting.items():
            if seen:
                remedy = "remove it, or metrics"
                yield line(f"{where}{setting}", "conflicts with metrics, which sets it", seen, remedy)


def _file_faults(cluster: Cluster) -> Iterator[str]:
    for each in cluster.images:
        if not cluster.files(each.files):
            yield line("images", "matches no file", each.files, f"correct it; paths start at {cluster.folder}")
    named = [("artifact_server_ca", cluster.artifact_server_ca)]
    for name, registry in cluster.registries.items():
        named += [(f"registries.{name}.ca", registry.ca), (f"registries.{name}.password_file", registry.password_file)]
    for setting, file in named:
        if file:
            yield from _content_faults(setting, file, cluster.folder)


def _content_faults(setting: str, file: str, folder: Path) -> Iterator[str]:
    try:
        text = (folder / file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not a text"
        yield line(setting, f"names a file that cannot be read: {why}", file, "correct it")
        return
    if setting.endswith("ca") and "-----BEGIN CERTIFICATE-----" not in text:
        yield line(setting, "names a file that has no certificate", file, "give one in PEM")
    if setting.endswith("password_file") and not re.fullmatch(r"[^\r\n]+\r?\n?", text):
        yield line(setting, "names a file that does not have one line", file, "write only the password into it")


def _address_faults(cluster: Cluster) -> Iterator[str]:
    users: defaultdict[str, list[str]] = defaultdict(list)
    for node in cluster.nodes:
        if node.address:
            users[node.address].append(node.name)
    if cluster.api_vip:
        users[cluster.api_vip].append("api_vip")
    for used, hosts in users.items():
        if len(hosts) > 1:
            yield line(", ".join(hosts), "have the same address", used, "give each its own")
        for setting, network in (
            ("pod_network", cluster.pod_network),
            ("service_network", cluster.service_network),
        ):
            if IPv4Address(used) in network:
                yield line(", ".join(hosts), f"has an address within {setting} {network}", used, f"move {setting}")


def _dns_faults(cluster: Cluster) -> Iterator[str]:
    own = f".{cluster.cluster_domain}"
    for zone in cluster.dns.zones:
        # CoreDNS asks the server with the longest zone that matches a name.
        if own.endswith(f".{zone}") or f".{zone}".endswith(own):
            yield line("dns.zones", "has a zone that would answer for the cluster's own names", zone, "remove it")
