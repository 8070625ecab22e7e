"""What an inventory says: its hosts and settings, checked as a whole, as one immutable Cluster."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import TypeVar

from kubekeel.release import Release, chosen, release, unfit

ROLES = ("etcd", "masters", "minions")
ARCHITECTURES = ("amd64", "arm64")
ARTIFACT_SOURCES = ("auto", "upstream", "mirror", "source")
FLANNEL_BACKENDS = ("vxlan", "host-gw")
KUBE_PROXY_MODES = ("nftables", "iptables")
DRAINS = ("minor", "always", "never")
DASHBOARDS = ("auto", "headlamp", "kube-web-view", None)

HOST_KEYS = ("address", "arch", "labels")
SETTINGS = (
    *("cluster_name", "kubernetes_version", "versions", "artifact_source", "artifact_mirror"),
    *("pod_network", "node_subnet_length", "service_network", "cluster_domain"),
    *("flannel_backend", "kube_proxy_mode", "register_masters", "dashboard"),
    *("upgrade_batch", "drain", "drain_timeout"),
    *("extra_api_names", "renew_before_days", "sign_client_certificates", "state_dir"),
)

Batch = int | str
"""A number of nodes, or a part of them like "20%"."""

T = TypeVar("T")

_DNS_SERVICE = 10
"""The DNS service has the tenth address of the service network, by custom of Kubernetes installers."""

_ONE: Batch = 1
_NOWHERE = IPv4Network("0.0.0.0/32")
_ROLE_LABEL = "node-role.kubernetes.io/"
# kubelet sets them by what it finds, and add-ons and topologies go by them.
_OWN_LABELS = frozenset(
    {
        *(f"kubernetes.io/{name}" for name in ("arch", "hostname", "os")),
        *(f"beta.kubernetes.io/{name}" for name in ("arch", "os")),
    }
)
# The API servers' certificates have them, and a kubelet's has its node's name.
_API_NAMES = frozenset({"kubernetes", "localhost"})
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
    sign_client_certificates: bool
    versions: Mapping[str, str] = field(default_factory=dict, hash=False)
    upgrade_batch: Batch = 1
    drain: str = "minor"
    drain_timeout: int = 300

    @property
    def release(self) -> Release:
        """All that goes with the versions that are described."""
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

    def supplied_from(self, source: str) -> Cluster:
        """This cluster with artifacts from `source`, decided, and with the dashboard that can be had from there."""
        dashboard = self.dashboard
        if dashboard == "auto":
            dashboard = "kube-web-view" if source == "source" else "headlamp"
        return replace(self, artifact_source=source, dashboard=dashboard)

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
    roles = {name: frozenset(role for role in ROLES if name in groups.get(role, ())) for name in hosts}
    source = reader.setting("artifact_source", _one_of(ARTIFACT_SOURCES), "auto")
    cluster = Cluster(
        name=reader.setting("cluster_name", _label, ""),
        kubernetes_version=reader.setting("kubernetes_version", _version_of("kubernetes"), ""),
        versions=reader.setting("versions", _versions, {}),
        nodes=tuple(reader.node(name, roles[name], data) for name, data in hosts.items()),
        pod_network=reader.setting("pod_network", _network, _NOWHERE),
        node_subnet_length=reader.setting("node_subnet_length", _between(16, 28), 0),
        service_network=reader.setting("service_network", _network, _NOWHERE),
        cluster_domain=reader.setting("cluster_domain", _domain, ""),
        upgrade_batch=reader.setting("upgrade_batch", _batch, _ONE),
        drain=reader.setting("drain", _one_of(DRAINS), "minor"),
        drain_timeout=reader.setting("drain_timeout", _between(10, 7200), 300),
        flannel_backend=reader.setting("flannel_backend", _one_of(FLANNEL_BACKENDS), ""),
        kube_proxy_mode=reader.setting("kube_proxy_mode", _one_of(KUBE_PROXY_MODES), ""),
        register_masters=reader.setting("register_masters", _flag, True),
        dashboard=reader.setting("dashboard", _one_of(DASHBOARDS), None),
        artifact_source=source,
        artifact_mirror=reader.setting("artifact_mirror", _mirror(source), None),
        extra_api_names=reader.setting("extra_api_names", _api_names, ()),
        renew_before_days=reader.setting("renew_before_days", _between(1, 180), 0),
        sign_client_certificates=reader.setting("sign_client_certificates", _flag, False),
    )
    faults = [
        *_group_faults(groups, cluster),
        *_key_faults(hosts, settings),
        *reader.faults,
        *_name_faults(cluster),
        *_network_faults(cluster),
    ]
    if faults:
        raise InventoryError(faults)
    return cluster


class _Refused(ValueError):
    """A value that will not do: what is wrong, and what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy


def _fault(subject: str, problem: str, seen: object, remedy: str) -> str:
    return f"{subject}: {problem} ({str(seen) or repr(seen)}); {remedy}"


class _Reader:
    """Reads values; a fault is noted and a stand-in given, so that all faults are found in one pass."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._settings = settings
        self.faults: list[str] = []

    def setting(self, name: str, parse: Callable[[object], T], stand_in: T) -> T:
        if name in self._settings:
            return self.value(name, self._settings[name], parse, stand_in)
        self.faults.append(f"{name}: is missing; set it in group_data/all.py")
        return stand_in

    def value(self, subject: str, value: object, parse: Callable[[object], T], stand_in: T) -> T:
        try:
            return parse(value)
        except _Refused as refused:
            self.faults.append(_fault(subject, refused.problem, value, refused.remedy))
            return stand_in

    def node(self, name: str, roles: frozenset[str], data: Mapping[str, object]) -> Node:
        return Node(
            self.value(name, name, _node_name, name),
            address=self.value(name, data.get("address"), _address, ""),
            arch=self.value(name, data.get("arch", "amd64"), _one_of(ARCHITECTURES, "has an arch that "), ""),
            roles=roles,
            labels=self.value(name, data.get("labels", {}), _labels, {}),
        )


# What a value must be: each takes it as it was written and gives it as the Cluster has it.


def _one_of(choices: Sequence[T], what: str = "") -> Callable[[object], T]:
    def parse(value: object) -> T:
        for choice in choices:
            if value == choice:
                return choice
        raise _Refused(f"{what}is unknown", f"take one of {', '.join(map(repr, choices))}")

    return parse


def _version_of(component: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if why := unfit(component, value):
            raise _Refused(*why)
        return str(value)

    return parse


def _versions(value: object) -> dict[str, str]:
    known = [name for name in chosen() if name != "kubernetes"]
    if not isinstance(value, Mapping):
        raise _Refused("is not a dict", 'write it like {"containerd": "v2.4.3"}')
    for name, version in value.items():
        if name not in known:
            other = "set kubernetes_version" if name == "kubernetes" else f"the components are {', '.join(known)}"
            raise _Refused(f"has a component {name!r} that has no version here", other)
        if why := unfit(name, version):
            problem, remedy = why
            raise _Refused(f"has a version of {name} that {problem}", remedy)
    return dict(value)


def _between(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if type(value) is int and least <= value <= most:
            return value
        raise _Refused("is out of range", f"take a whole number from {least} to {most}")

    return parse


def _batch(value: object) -> Batch:
    if type(value) is int and value >= 1:
        return value
    if isinstance(value, str) and re.fullmatch(r"([1-9]\d?|100)%", value):
        return value
    raise _Refused(
        "is neither a number of nodes nor a part of them", 'take a whole number from 1, or a part like "20%"'
    )


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _Refused("is neither true nor false", "take True or False")


def _label(value: object) -> str:
    if isinstance(value, str) and _LABEL.fullmatch(value):
        return value
    raise _Refused("is not a DNS label", "take lower case letters, digits and inner hyphens, 63 characters at most")


def _node_name(value: object) -> str:
    name = _label(value)
    if name in _API_NAMES:
        raise _Refused("has a name of the API's", "take another one")
    return name


def _is_domain(text: str) -> bool:
    return len(text) <= 253 and all(_LABEL.fullmatch(part) for part in text.split("."))


def _domain(value: object) -> str:
    if isinstance(value, str) and _is_domain(value):
        return value
    raise _Refused("is not a domain", "take lower case DNS labels joined by dots, like cluster.local")


def _network(value: object) -> IPv4Network:
    remedy = "give an IPv4 network like 10.244.0.0/16"
    if not isinstance(value, str) or "/" not in value:
        raise _Refused("is not a network", remedy)
    try:
        network = IPv4Network(value, strict=False)
    except ValueError as error:
        raise _Refused("is not a network", remedy) from error
    if str(network) != value:
        raise _Refused("has host bits set or an unusual mask", f"write {network}")
    if _reserved(network.network_address) or _reserved(network.broadcast_address):
        raise _Refused("is in a reserved range", "take a private network like 10.244.0.0/16")
    return network


def _reserved(address: IPv4Address) -> bool:
    return (
        address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or address.is_reserved
        or address in IPv4Network("0.0.0.0/8")
    )


def _address(value: object) -> str:
    try:
        address = IPv4Address(value if isinstance(value, str) else "")
    except ValueError as error:
        raise _Refused("has no IPv4 address", "give the one other hosts reach it at") from error
    if _reserved(address):
        raise _Refused("has an address no other host can reach", "give the one other hosts reach it at")
    return str(address)


def _mirror(source: str) -> Callable[[object], str | None]:
    def parse(value: object) -> str | None:
        if isinstance(value, str) and value:
            return value
        if value is None and source != "mirror":
            return None
        raise _Refused("names no mirror", "give the mirror's folder or base URL")

    return parse


def _api_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise _Refused("is not a list", 'write it like ("api.example.org", "203.0.113.7")')
    wrong = [name for name in value if not _is_api_name(name)]
    if wrong:
        raise _Refused("holds what is neither a DNS name nor an address", f"correct {wrong}")
    return tuple(value)


def _is_api_name(name: object) -> bool:
    if not isinstance(name, str):
        return False
    try:
        ip_address(name)
    except ValueError:
        # No top-level domain is a number, so such a name is an address with a slip in it.
        return _is_domain(name) and not name.rpartition(".")[2].isdigit()
    return True


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _Refused("has labels that are not a dict", 'write them like {"disk": "ssd"}')
    for key, text in value.items():
        if not (isinstance(key, str) and isinstance(text, str) and _is_label(key, text)):
            raise _Refused(f"has a malformed label {key!r}", "keep to Kubernetes' syntax of labels")
        if key.startswith(_ROLE_LABEL):
            raise _Refused(f"has a label of roles {key!r}", "put the host into groups instead")
        if key in _OWN_LABELS:
            raise _Refused(f"has a label that kubelet sets itself {key!r}", "remove it")
    return dict(value)


def _is_label(key: str, value: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return (
        (_is_domain(prefix) if slash else True)
        and _QUALIFIED.fullmatch(name) is not None
        and (not value or _QUALIFIED.fullmatch(value) is not None)
    )


def _group_faults(groups: Mapping[str, Sequence[str]], cluster: Cluster) -> Iterator[str]:
    for group in sorted(set(groups) - set(ROLES)):
        remedy = _hint(group, ROLES, f"the groups are {', '.join(ROLES)}; start other names with '_'")
        yield _fault(f"group {group}", "is unknown", ", ".join(groups[group]) or "no host", remedy)
    grouped = {name for names in groups.values() for name in names}
    for node in cluster.nodes:
        if node.name not in grouped:
            yield f"{node.name}: is in no group; put it into {', '.join(ROLES)}, or remove it"
    for role in ("etcd", "masters"):
        if not cluster._with_role(role):
            yield f"{role}: has no host; put one in"
    if not (cluster.register_masters or cluster.minions):
        yield "minions: has no host, and masters are not registered; add one or set register_masters = True"


def _name_faults(cluster: Cluster) -> Iterator[str]:
    for node in cluster.nodes:
        if "masters" not in node.roles and node.name in cluster.extra_api_names:
            yield _fault(
                "extra_api_names", "holds the name of a host that is not a master", node.name, "take another one"
            )


def _key_faults(hosts: Mapping[str, Mapping[str, object]], settings: Mapping[str, object]) -> Iterator[str]:
    for name, data in hosts.items():
        for key in sorted(filter(_is_ours, data.keys() - set(HOST_KEYS))):
            if key in SETTINGS:
                yield f"{name}: {key} is a setting of the whole cluster; set it in group_data/all.py"
            else:
                yield _fault(name, "unknown key", key, _hint(key, HOST_KEYS, "remove it"))
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
    if services is not _NOWHERE:
        if not 12 <= services.prefixlen <= 28:
            yield _fault("service_network", "has an unfit size", services, "take a length from /12 to /28")
        if pods.overlaps(services):
            yield _fault("service_network", f"overlaps pod_network {pods}", services, "take another range")
    if pods is not _NOWHERE and cluster.node_subnet_length:
        # flannel asks for room for four subnets, and leaves the first one free.
        spare = cluster.node_subnet_length - pods.prefixlen
        if spare < 2 or 2**spare - 1 < len(cluster.nodes):
            yield _fault(
                "node_subnet_length",
                f"leaves too few subnets in {pods} for {len(cluster.nodes)} hosts",
                cluster.node_subnet_length,
                "take a longer one, or a larger pod_network",
            )


def _address_faults(cluster: Cluster) -> Iterator[str]:
    users: defaultdict[str, list[str]] = defaultdict(list)
    for node in cluster.nodes:
        if node.address:
            users[node.address].append(node.name)
    for address, names in users.items():
        if len(names) > 1:
            yield _fault(", ".join(names), "have the same address", address, "give each its own")
        for setting, network in (
            ("pod_network", cluster.pod_network),
            ("service_network", cluster.service_network),
        ):
            if IPv4Address(address) in network:
                yield _fault(", ".join(names), f"has an address within {setting} {network}", address, f"move {setting}")
