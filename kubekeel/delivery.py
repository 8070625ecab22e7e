"""The web server from which hosts fetch packed binaries and images, and the proxy to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from kubekeel.artifacts import Packed
from kubekeel.artifacts.cache import digest
from kubekeel.cluster import Cluster
from kubekeel.registries import proxies

ENVIRONMENT, DIRECT = None, ""


@dataclass(frozen=True)
class Server:
    """A web server with the files that `publish` put into its folder.

    `proxy` is a URL, DIRECT, or ENVIRONMENT if the host's environment decides; `authority` is PEM, or empty.
    """

    url: str
    proxy: str | None = ENVIRONMENT
    authority: str = ""

    def url_of(self, packed: Packed) -> str:
        return f"{self.url}/{place(packed)}"

    def settings(self) -> str:
        """Return the settings that files/node/fetch.sh reads: proxy and authority of the server, for curl and wget."""
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


def place(packed: Packed) -> str:
    """Return the path of a packed file below the server's base URL; its folder is its sha256."""
    return f"{packed.sha256}/{packed.name}"


def publish(files: Iterable[Packed], folder: Path) -> int:
    """Put packed files into a web server's folder; return how many were missing or incomplete.

    A file is complete before it gets its name. Other files in the folder stay. Raises OSError.
    """
    lacking = [each for each in files if not _is_complete(folder / place(each), each)]
    for each in lacking:
        target = folder / place(each)
        target.parent.mkdir(parents=True, exist_ok=True)
        # The web server runs as another user.
        target.parent.chmod(0o755)
        part = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            shutil.copyfile(each.file, part)
            part.chmod(0o644)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return len(lacking)


def _is_complete(file: Path, packed: Packed) -> bool:
    return file.is_file() and digest(file) == packed.sha256


def server(cluster: Cluster) -> Server | None:
    """Return the server from which hosts fetch artifacts; None if this computer sends them."""
    if cluster.artifact_delivery == "push" or not cluster.artifact_server:
        return None
    ca = cluster.artifact_server_ca
    authority = (cluster.folder / ca).read_text() if ca else ""
    return Server(cluster.artifact_server, _proxy(cluster, cluster.artifact_server), authority)


def _proxy(cluster: Cluster, url: str) -> str | None:
    """Return the proxy for a URL; hosts cannot choose it, as some of their programs know no networks in `no_proxy`."""
    variables, parts = proxies(cluster), urlsplit(url)
    if not variables:
        return ENVIRONMENT
    if any(_covers(entry, parts.hostname or "") for entry in variables["NO_PROXY"].split(",")):
        return DIRECT
    return variables.get(f"{parts.scheme.upper()}_PROXY", DIRECT)


def _covers(entry: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return entry == "*" or f".{host}".endswith(f".{entry.lstrip('.')}")
