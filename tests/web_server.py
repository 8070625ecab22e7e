"""A web server for tests, which also goes wrong on demand, and which serves as a proxy, too."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class WebServer:
    """What it serves, how, and what it was asked.

    Each of `cuts` is the number of bytes after which one answer ends too early, the first one's first.
    """

    root: Path
    resumes: bool = True
    cuts: list[int] = field(default_factory=list)
    status: int = 200
    url: str = ""
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    signed_in: list[str] = field(default_factory=list)
    sent: int = 0


@contextmanager
def listening(handler: Callable[..., BaseHTTPRequestHandler], tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Answer by HTTP on a port of this computer, and give its URL; `tls` are the files of a certificate and its key."""
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
    """Serve a folder."""
    site = WebServer(root)
    with listening(partial(_Handler, site), tls) as site.url:
        yield site


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, site: WebServer, *arguments: object) -> None:
        self.site = site
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.site.asked.append(self.path)
        if credentials := self.headers["Proxy-Authorization"]:
            self.site.signed_in.append(credentials)
        file = self.site.root / urlsplit(self.path).path.lstrip("/")
        if self.site.status != 200 or not file.is_file():
            self.send_error(self.site.status if self.site.status != 200 else 404)
            return
        content, asked_for = file.read_bytes(), self.headers["Range"]
        start = 0
        if asked_for and self.site.resumes:
            self.site.ranges.append(asked_for)
            start = int(asked_for.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if self.site.cuts:
            body = body[: self.site.cuts.pop(0)]
        self.site.sent += len(body)
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
