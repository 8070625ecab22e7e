"""A web server for tests that fails on demand, and that can be a proxy."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class WebServer:
    """A folder that is served, the ways to fail, and the requests so far.

    Each of `cuts` ends one answer after that many bytes, in the order of the answers.
    """

    root: Path
    resumes: bool = True
    cuts: list[int] = field(default_factory=list)
    status: int = 200
    url: str = ""
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    signed_in: list[str] = field(default_factory=list)
    sent: int = 0


@contextmanager
def listening(handler: Callable[..., BaseHTTPRequestHandler], tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Serve HTTP on a local port, and yield its URL; `tls` names the files of a certificate and its key."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def serving(root: Path, tls: tuple[Path, Path] | None = None) -> Iterator[WebServer]:
    """Serve a folder, and yield its server."""
    site = WebServer(root)
    with listening(partial(_Handler, site), tls) as site.url:
        yield site


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, site: WebServer, *arguments: object) -> None:
        self.site = site
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.site.requests.append(self.path)
        if credentials := self.headers["Proxy-Authorization"]:
            self.site.signed_in.append(credentials)
        file = self.site.root / urlsplit(self.path).path.lstrip("/")
        if self.site.status != 200 or not file.is_file():
            self.send_error(self.site.status if self.site.status != 200 else 404)
            return
        content = file.read_bytes()
        tag = f'"{sha256(content).hexdigest()}"'
        start = self._start(tag)
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", tag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if self.site.cuts:
            body = body[: self.site.cuts.pop(0)]
        self.site.sent += len(body)
        self.wfile.write(body)

    def _start(self, tag: str) -> int:
        """Return the first byte to send of the content with this entity tag."""
        wanted = self.headers["Range"]
        if not (wanted and self.site.resumes and self.headers.get("If-Range", tag) == tag):
            return 0
        self.site.ranges.append(wanted)
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def log_message(self, *_: object) -> None:
        pass
