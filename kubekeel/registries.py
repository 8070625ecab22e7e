"""What containerd reads of each registry whenever it pulls an image, and by which proxies it and downloads go."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from kubekeel.cluster import Cluster
from kubekeel.settings.registries import Registry

FOLDER = "/etc/containerd/certs.d"
"""Where containerd looks, registry by registry; others may have theirs there, too."""

MARK = "# Written by Kubekeel, and removed with its setting."
"""The first line of what is Kubekeel's there."""


@dataclass(frozen=True)
class Host:
    """One that images come from; `ca` is the file of its authority on nodes, `authorization` what it is shown."""

    url: str
    ca: str
    authorization: str

    @property
    def has_whole_path(self) -> bool:
        """Whether its path is all that it is to be: of others containerd makes PATH/v2."""
        return "/v2/" in urlsplit(self.url).path


def hosts(cluster: Cluster, name: str) -> tuple[Host, tuple[Host, ...]]:
    """A registry itself, and its mirrors, each as its own entry says."""
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
    """The file on nodes of who vouches for a registry."""
    return f"{folder(name)}/kubekeel-ca.crt"


# Proxies.


def proxies(cluster: Cluster) -> dict[str, str]:
    """The variables of an environment by which programs go; none where nothing is set."""
    set_so = {"HTTP_PROXY": cluster.http_proxy, "HTTPS_PROXY": cluster.https_proxy}
    given = {name: url for name, url in set_so.items() if url}
    return {**given, "NO_PROXY": ",".join(_direct(cluster))} if given else {}


def _direct(cluster: Cluster) -> Iterator[str]:
    """Where no proxy leads: this host, nodes, pods and services, and what is set."""
    yield from ("localhost", "127.0.0.0/8")
    yield from (name for node in cluster.nodes for name in (node.address, node.name))
    yield from (str(cluster.pod_network), str(cluster.service_network), ".svc", f".{cluster.cluster_domain}")
    yield from filter(None, cluster.no_proxy.split(","))


def proxies_set(cluster: Cluster) -> str:
    """What changes with the settings of proxies and not with the nodes, without showing them; "" where none is set."""
    if not proxies(cluster):
        return ""
    return sha256("\n".join((cluster.http_proxy, cluster.https_proxy, cluster.no_proxy)).encode()).hexdigest()[:16]
