"""The hosts from which containerd pulls a registry's images, and the proxies for containerd and downloads."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from kubekeel.cluster import Cluster
from kubekeel.settings.registries import Registry

FOLDER = "/etc/containerd/certs.d"
"""containerd's folder with a folder for each registry; other programs may write there, too."""

MARK = "# Written by Kubekeel, and removed with its setting."
"""The first line of Kubekeel's files there."""


@dataclass(frozen=True)
class Host:
    """A host that serves images; `ca` is its authority's file on nodes, `authorization` the header for requests."""

    url: str
    ca: str
    authorization: str

    @property
    def has_whole_path(self) -> bool:
        """Whether its path is complete; containerd appends /v2 to other paths."""
        return "/v2/" in urlsplit(self.url).path


def hosts(cluster: Cluster, name: str) -> tuple[Host, tuple[Host, ...]]:
    """Return a registry itself and its mirrors, each by its own entry."""
    mirrors = cluster.registries[name].mirrors
    return _host(cluster, name, name), tuple(_host(cluster, url, urlsplit(url).netloc) for url in mirrors)


def _host(cluster: Cluster, url: str, name: str) -> Host:
    registry = cluster.registries.get(name, Registry())
    return Host(url, authority(name) if registry.ca else "", _authorization(cluster, registry))


def _authorization(cluster: Cluster, registry: Registry) -> str:
    if not registry.username:
        return ""
    password = (cluster.folder / registry.password_file).read_text().strip("\r\n")
    return f"Basic {b64encode(f'{registry.username}:{password}'.encode()).decode()}"


def folder(name: str) -> str:
    return f"{FOLDER}/{'_default' if name == '*' else name}"


def authority(name: str) -> str:
    """Return the file of a registry's authority on nodes."""
    return f"{folder(name)}/kubekeel-ca.crt"


# Proxies.


def proxies(cluster: Cluster) -> dict[str, str]:
    """Return the environment variables of the proxies; empty if no proxy is set."""
    settings = {"HTTP_PROXY": cluster.http_proxy, "HTTPS_PROXY": cluster.https_proxy}
    variables = {name: url for name, url in settings.items() if url}
    return {**variables, "NO_PROXY": ",".join(_direct(cluster))} if variables else {}


def _direct(cluster: Cluster) -> Iterator[str]:
    """Yield the destinations without a proxy: this host, nodes, pods, services, and the setting `no_proxy`."""
    yield from ("localhost", "127.0.0.0/8")
    yield from (name for node in cluster.nodes for name in (node.address, node.name))
    yield from (str(cluster.pod_network), str(cluster.service_network), ".svc", f".{cluster.cluster_domain}")
    yield from filter(None, cluster.no_proxy.split(","))


def proxies_set(cluster: Cluster) -> str:
    """Return a digest of the settings of proxies, independent of the nodes; "" if no proxy is set."""
    if not proxies(cluster):
        return ""
    return sha256("\n".join((cluster.http_proxy, cluster.https_proxy, cluster.no_proxy)).encode()).hexdigest()[:16]
