"""What an inventory says: its hosts and settings, checked as a whole, as one immutable Cluster."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError, ip_address
from itertools import combinations

ROLES = ("etcd", "masters", "minions")
ARCHITECTURES = ("amd64", "arm64")
KUBERNETES_VERSIONS = ("v1.37.2", "v1.36.3")
ARTIFACT_SOURCES = ("auto", "upstream", "mirror", "source")
FLANNEL_BACKENDS = ("vxlan", "host-gw")
KUBE_PROXY_MODES = ("nftables", "iptables")
DASHBOARDS = ("auto", "headlamp", "kube-web-view", None)

HOST_KEYS = ("address", "arch", "labels")
SETTINGS = (
    *("cluster_name", "kubernetes_version", "artifact_source", "artifact_mirror"),
    *("pod_network", "node_subnet_length", "service_network", "cluster_domain"),
    *("flannel_backend", "kube_proxy_mode", "register_masters", "dashboard"),
    *("extra_api_names", "renew_before_days", "state_dir"),
)

_DNS_SERVICE = 10
"""The DNS service has the tenth address of the service network, by custom of Kubernetes installers."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Node:
    """One host; `roles` are the names of its groups, `labels` those it gets in the cluster."""

    name: str
    address: str
    arch: str
    roles: frozenset[str]
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Cluster:
    """A cluster whose parts fit together; `nodes` are in the order of the inventory."""

    name: str
    kubernetes_version: str
    nodes: tuple[Node, ...]
    pod_network: IPv4Network
    node_subnet_length: int
    service_network: IPv4Network
    cluster_domain: str
    flannel_backend: str
    kube_proxy_mode: str
    register_masters: bool
    dashboard: str | None
    artifact_source: str
    artifact_mirror: str | None
    extra_api_names: tuple[str, ...]
    renew_before_days: int

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
    def dns_address(self) -> str:
        return str(self.service_network[_DNS_SERVICE])

    @property
    def api_service_address(self) -> str:
        return str(self.service_network[1])

    @property
    def etcd_endpoints(self) -> str:
        """The client URLs of all members, separated by commas."""
        return ",".join(f"https://{node.address}:2379" for node in self.etcd)

    @property
    def etcd_initial_cluster(self) -> str:
        """The peer URLs of all members, as etcd's --initial-cluster takes them."""
        return ",".join(f"{node.name}=https://{node.address}:2380" for node in self.etcd)

    def node(self, name: str) -> Node:
        """The node called `name`; KeyError when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def _with_role(self, role: str) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if role in node.roles)


class InventoryError(Exception):
    """Everything that is wrong with an inventory, a line each."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


def load(
    groups: Mapping[str, Sequence[str]],
    hosts: Mapping[str, Mapping[str, object]],
    settings: Mapping[str, object],
) -> Cluster:
    """The cluster that groups of host names, each host's own data and the settings describe.

    What is meant for pyinfra itself (`ssh_*` and `_*`) may be among the data and is passed over.
    Raises InventoryError with all faults.
    """
    reader = _Reader(settings)
    nodes = _nodes(groups, hosts, reader.faults)
    faults = [*_group_faults(groups, hosts), *_key_faults(hosts, settings)]
    source = reader.choice("artifact_source", ARTIFACT_SOURCES)
    cluster = Cluster(
        name=reader.text("cluster_name", is_label, "take lower case letters, digits and '-'"),
        kubernetes_version=reader.choice("kubernetes_version", KUBERNETES_VERSIONS),
        nodes=nodes,
        pod_network=reader.network("pod_network"),
        node_subnet_length=reader.number("node_subnet_length", 16, 28),
        service_network=reader.network("service_network"),
        cluster_domain=reader.text("cluster_domain", is_domain, "give a domain like cluster.local"),
        flannel_backend=reader.choice("flannel_backend", FLANNEL_BACKENDS),
        kube_proxy_mode=reader.choice("kube_proxy_mode", KUBE_PROXY_MODES),
        register_masters=reader.flag("register_masters"),
        dashboard=_dashboard(reader.choice("dashboard", DASHBOARDS), source),
        artifact_source=source,
        artifact_mirror=reader.mirror(source),
        extra_api_names=reader.names("extra_api_names"),
        renew_before_days=reader.number("renew_before_days", 1, 180),
    )
    faults += [*reader.faults, *_network_faults(cluster, reader.unreadable), *_role_faults(cluster)]
    if faults:
        raise InventoryError(faults)
    return cluster


def is_label(text: str) -> bool:
    """Whether `text` is a DNS label as RFC 1123 and Kubernetes have it: lower case, at most 63 characters."""
    return _LABEL.fullmatch(text) is not None


def is_domain(text: str) -> bool:
    """Whether `text` is DNS labels joined by dots, at most 253 characters."""
    return len(text) <= 253 and all(is_label(part) for part in text.split("."))


def _is_api_name(name: object) -> bool:
    if not isinstance(name, str):
        return False
    try:
        ip_address(name)
    except ValueError:
        # What only has digits and dots is an address with a slip in it.
        return is_domain(name) and not name.replace(".", "").isdigit()
    return True


def _fault(subject: str, problem: str, seen: object, remedy: str) -> str:
    return f"{subject}: {problem} ({seen if isinstance(seen, str) and seen else repr(seen)}); {remedy}"


def _one_of(choices: Iterable[object]) -> str:
    return " | ".join(str(choice) for choice in choices)


def _hint(name: str, known: Iterable[str], otherwise: str) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else otherwise


def _dashboard(chosen: str | None, source: str) -> str | None:
    if chosen != "auto":
        return chosen
    return "headlamp" if source in ("upstream", "mirror") else "kube-web-view"


class _Reader:
    """Takes settings by name and notes what is wrong with each, giving a stand-in so that reading goes on."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._settings = settings
        self.faults: list[str] = []
        self.unreadable: set[str] = set()

    def text(self, name: str, valid: Callable[[str], bool], remedy: str) -> str:
        value = self._value(name, remedy)
        if isinstance(value, str) and valid(value):
            return value
        self._refuse(name, "is malformed", value, remedy)
        return ""

    def choice[T](self, name: str, choices: Sequence[T]) -> T:
        value = self._value(name, "")
        for choice in choices:
            if value == choice and type(value) is type(choice):
                return choice
        self._refuse(name, "is unknown", value, f"take one of {_one_of(choices)}")
        return choices[0]
