"""The settings of a cluster by subject: a new setting needs only a field here.

Its row in docs/settings.md has its default; a setting without a default is in group_data/all.py, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from kubekeel.release import SOURCES
from kubekeel.settings import group_of, optional, required
from kubekeel.settings.authentication import authentication, group_roles
from kubekeel.settings.components import Arguments, arguments, configuration, containerd, feature_gates
from kubekeel.settings.registries import Archives, Registry, archives, no_proxy, path, proxy, registries
from kubekeel.settings.values import (
    REFUSE,
    Batch,
    api_names,
    batch,
    between,
    corefile,
    domain,
    endpoint,
    flag,
    known_hosts,
    mirror,
    name_servers,
    network,
    node_port_addresses,
    one_of,
    unreachable,
    version_of,
    versions,
    vip,
    web_server,
    zones,
)

ARTIFACT_DELIVERIES = ("push", "pull")
FLANNEL_BACKENDS = ("vxlan", "host-gw")
POD_NETWORK_PROVIDERS = ("flannel", "none")
KUBE_PROXY_MODES = ("nftables", "iptables", None)
NETWORK_POLICIES = ("kube-network-policies", None)
DRAINS = ("minor", "always", "never")
DASHBOARDS = ("auto", "headlamp", "kube-web-view", None)

NOWHERE = IPv4Network("0.0.0.0/32")
"""The placeholder for a refused network."""


@dataclass(frozen=True, kw_only=True)
class Artifacts:
    """Versions, and the origin and delivery of binaries and images."""

    kubernetes_version: str = required(version_of("kubernetes"), "")
    versions: Mapping[str, str] = required(versions, {})
    artifact_source: str = required(one_of(SOURCES), "auto")
    artifact_mirror: str | None = required(mirror, None)
    artifact_delivery: str = optional(one_of(ARTIFACT_DELIVERIES), "push")
    artifact_server: str | None = optional(web_server, None)
    artifact_server_ca: str = optional(path, "")


@dataclass(frozen=True, kw_only=True)
class Registries:
    """The user's own images, other registries, and the proxies for registries and downloads."""

    images: tuple[Archives, ...] = optional(archives, ())
    registries: Mapping[str, Registry] = optional(registries, {})
    http_proxy: str = optional(proxy, "")
    https_proxy: str = optional(proxy, "")
    no_proxy: str = optional(no_proxy, "")


@dataclass(frozen=True, kw_only=True)
class Upgrades:
    """The pace at which a run changes serving nodes, and the number of hosts that may be unreachable."""

    upgrade_batch: Batch = required(batch, 1)
    drain: str = required(one_of(DRAINS), "minor")
    drain_timeout: int = required(between(10, 7200), 300)
    unreachable: Batch = optional(unreachable, REFUSE)


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Addresses and names in the cluster, and the routing of packets."""

    pod_network: IPv4Network = required(network, NOWHERE)
    node_subnet_length: int = required(between(16, 28), 0)
    service_network: IPv4Network = required(network, NOWHERE)
    cluster_domain: str = required(domain, "")
    pod_network_provider: str = optional(one_of(POD_NETWORK_PROVIDERS), "flannel")
    flannel_backend: str = required(one_of(FLANNEL_BACKENDS), "")
    kube_proxy_mode: str | None = required(one_of(KUBE_PROXY_MODES), "")
    node_port_addresses: tuple[str, ...] = optional(node_port_addresses, ())
    network_policy: str | None = optional(one_of(NETWORK_POLICIES), None)


@dataclass(frozen=True, kw_only=True)
class Access:
    """The API's addresses, certificates and users."""

    api_endpoint: str = optional(endpoint, "")
    api_vip: str | None = optional(vip, None)
    extra_api_names: tuple[str, ...] = required(api_names, ())
    renew_before_days: int = required(between(1, 180), 0)
    sign_client_certificates: bool = required(flag, False)
    authentication: tuple[str, ...] = optional(authentication, ())
    group_roles: Mapping[str, tuple[str, ...]] = optional(group_roles, {})


@dataclass(frozen=True, kw_only=True)
class Dns:
    """DNS for pods: a zone has its own name servers; `replicas` defaults to a number by the number of nodes.

    `corefile` has further servers in CoreDNS' syntax.
    """

    upstreams: tuple[str, ...] = optional(name_servers, ())
    zones: Mapping[str, tuple[str, ...]] = optional(zones, {})
    hosts: Mapping[str, str] = optional(known_hosts, {})
    corefile: str = optional(corefile, "")
    replicas: int | None = optional(between(1, 100), None)


@dataclass(frozen=True, kw_only=True)
class Addons:
    """Kubekeel's add-ons in the cluster, and whether masters are Nodes."""

    register_masters: bool = required(flag, True)
    dashboard: str | None = required(one_of(DASHBOARDS), None)
    dns: Dns = optional(group_of(Dns), Dns())


@dataclass(frozen=True, kw_only=True)
class Components:
    """Arguments and configuration that extend or replace Kubekeel's own: for the cluster, and for a host."""

    kube_apiserver: Arguments = optional(arguments("kube-apiserver"), {})
    kube_controller_manager: Arguments = optional(arguments("kube-controller-manager"), {})
    kube_scheduler: Arguments = optional(arguments("kube-scheduler"), {})
    etcd_arguments: Arguments = optional(arguments("etcd"), {}, name="etcd")
    kubelet: Mapping[str, object] = optional(configuration("kubelet", {"maxPods": 50}), {})
    kube_proxy: Mapping[str, object] = optional(configuration("kube-proxy", {"logging": {"verbosity": 2}}), {})
    containerd: str = optional(containerd, "")


@dataclass(frozen=True, kw_only=True)
class ClusterComponents(Components):
    """Arguments and configuration for the whole cluster, and settings that all components share."""

    feature_gates: Mapping[str, bool] = optional(feature_gates, {})
    metrics: bool = optional(flag, False)
