"""How hosts fetch packed binaries and images by themselves: what a web server has, and by which proxy it is reached."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from kubekeel.artifacts import Artifact, Image
from kubekeel.artifacts.cache import digest
from kubekeel.cluster import Cluster
from kubekeel.registries import proxies

ENVIRONMENT, DIRECT = None, ""


@dataclass(frozen=True)
class Server:
    """A web server that has what `publish` put into a folder.

    `proxy` is a URL, DIRECT, or ENVIRONMENT where the host's own decides; `authority` is PEM, or empty.
    """

    url: str
    proxy: str | None = ENVIRONMENT
    authority: str = ""

    def url_of(self, artifact: Artifact | Image) -> str:
        return f"{self.url}/{place(artifact)}"

    def settings(self) -> str:
        """What files/node/fetch.sh reads: of both programs, the URL of a proxy and who vouches for the server."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.proxy is not ENVIRONMENT:
            yield f'curl: proxy = "{self.proxy}"'
            yield 'curl: noproxy = ""'
            yield f"wget: use_proxy = {'on' if self.proxy else 'off'}"
            yield "wget: no_proxy ="
        if self.proxy:
            yield f"wget: http_proxy = {self.proxy}"
            yield f"wget: https_proxy = {self.proxy}"
        if self.authority:
            yield 'curl: cacert = "fetch.crt"'
            yield "wget: ca_certificate = fetch.crt"
            yield from (f"authority: {line}" for line in self.authority.splitlines())


def place(artifact: Artifact | Image) -> str:
    """Where a server has an artifact, from its base on: the cache names what it holds by its sha256."""
    return f"{artifact.packed.name}/{artifact.packed_name}"


def publish(artifacts: Iterable[Artifact | Image], folder: Path) -> int:
    """Put the packed files into a folder that a web server serves; how many were not there, or not whole.

    Each is whole before it takes its name. Others in the folder stay. Raises OSError.
    """
    lacking = [each for each in artifacts if not _is_whole(folder / place(each), each)]
    for each in lacking:
        target = folder / place(each)
        target.parent.mkdir(parents=True, exist_ok=True)
        # The web server has a user of its own.
        target.parent.chmod(0o755)
        part = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            shutil.copyfile(each.packed, part)
            part.chmod(0o644)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return len(lacking)


def _is_whole(file: Path, artifact: Artifact | Image) -> bool:
    return file.is_file() and digest(file) == artifact.packed.name


def server(cluster: Cluster) -> Server | None:
    """The one that hosts fetch from; None where this computer sends."""
    if cluster.artifact_delivery == "push" or not cluster.artifact_server:
        return None
    ca = cluster.artifact_server_ca
    authority = (cluster.folder / ca).read_text() if ca else ""
    return Server(cluster.artifact_server, _proxy(cluster, cluster.artifact_server), authority)


def _proxy(cluster: Cluster, url: str) -> str | None:
    """Decided here, since what hosts have to fetch with knows no networks in `no_proxy`, or not yet."""
    given, parts = proxies(cluster), urlsplit(url)
    if not given:
        return ENVIRONMENT
    if any(_covers(entry, parts.hostname or "") for entry in given["NO_PROXY"].split(",")):
        return DIRECT
    return given.get(f"{parts.scheme.upper()}_PROXY", DIRECT)


def _covers(entry: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return entry == "*" or f".{host}".endswith(f".{entry.lstrip('.')}")
