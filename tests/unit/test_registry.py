"""Pulling from a registry, over HTTP, with the protocol's tokens, indexes, redirects and digests."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from kubekeel import images
from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.registry import Reference, Registry
from tests.web_server import listening


def digest(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


class Content:
    """One image for two architectures, as a registry stores it."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.challenge = True
        entries = [self._platform(arch) for arch in ("amd64", "arm64")]
        index = json.dumps({"schemaVersion": 2, "mediaType": images.INDEX, "manifests": entries}).encode()
        self.manifests["3.10.2"] = (images.INDEX, index)

    def _platform(self, arch: str) -> dict[str, Any]:
        config = self._blob(json.dumps({"architecture": arch, "os": "linux"}).encode())
        layers = [self._blob(gzip.compress(f"{arch} {n}".encode() * 5000, mtime=0)) for n in range(2)]
        manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode()
        self.manifests[digest(manifest)] = (images.MANIFEST, manifest)
        return {
            "mediaType": images.MANIFEST,
            "digest": digest(manifest),
            "size": len(manifest),
            "platform": {"os": "linux", "architecture": arch},
        }

    def _blob(self, content: bytes) -> dict[str, Any]:
        self.blobs[digest(content)] = content
        return {"digest": digest(content), "size": len(content), "mediaType": "application/octet-stream"}

    def manifest_for(self, arch: str) -> str:
        entries = json.loads(self.manifests["3.10.2"][1])["manifests"]
        return next(e["digest"] for e in entries if e["platform"]["architecture"] == arch)


@contextmanager
def serving(content: Content) -> Iterator[str]:
    """Serve a registry that requires a token and redirects blobs to its storage; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            host = self.headers["Host"]
            if parts.path == "/token":
                scope = parse_qs(parts.query)["scope"]
                self.answer(200, json.dumps({"token": f"for {scope[0]}"}).encode())
            elif parts.path.startswith("/storage/"):
                self.answer(200, content.blobs[parts.path.removeprefix("/storage/")])
            elif content.challenge and self.headers["Authorization"] != "Bearer for repository:pause:pull":
                challenge = f'Bearer realm="http://{host}/token",service="{host}",scope="repository:pause:pull"'
                self.answer(401, b"", {"WWW-Authenticate": challenge})
            elif parts.path.startswith("/v2/pause/blobs/"):
                location = f"http://{host}/storage/{parts.path.rpartition('/')[2]}"
                self.answer(307, b"", {"Location": location})
            elif (name := parts.path.removeprefix("/v2/pause/manifests/")) in content.manifests:
                kind, body = content.manifests[name]
                self.answer(200, body, {"Content-Type": kind})
            else:
                self.answer(404, b"")

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as url:
        yield url.removeprefix("http://")


@pytest.fixture
def content() -> Content:
    return Content()


@pytest.fixture
def host(content: Content) -> Iterator[str]:
    with serving(content) as address:
        yield address


def pull(host: str, arch: str, folder: Path, tag: str = "3.10.2") -> Path:
    archive = folder / f"{arch}.tar"
    Registry(host).pull(Reference.parse(f"{host}/pause:{tag}"), arch, archive)
    return archive


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_the_requested_architecture_is_pulled_under_its_upstream_name(
    host: str, content: Content, tmp_path: Path, arch: str
) -> None:
    archive = pull(host, arch, tmp_path)
    images.verify_archive(archive)
    assert images.image_of(archive) == (f"{host}/pause:3.10.2", content.manifest_for(arch))
    with tarfile.open(archive) as tar:
        assert len([name for name in tar.getnames() if name.startswith("blobs/sha256/")]) == 4


def test_a_registry_without_tokens_works_too(host: str, content: Content, tmp_path: Path) -> None:
    content.challenge = False
    images.verify_archive(pull(host, "amd64", tmp_path))


def test_a_blob_that_differs_from_its_digest_is_refused(host: str, content: Content, tmp_path: Path) -> None:
    for name, blob in content.blobs.items():
        content.blobs[name] = blob[:-1] + bytes([blob[-1] ^ 1])
    with pytest.raises(ArtifactError, match=r"pause:3\.10\.2: is damaged"):
        pull(host, "amd64", tmp_path)
    assert not (tmp_path / "amd64.tar").exists()


def test_a_registry_cannot_name_a_file_outside_of_the_folder(host: str, content: Content, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    config = json.loads(content.manifests[content.manifest_for("amd64")][1])["config"]
    layer = {"digest": str(victim), "size": 4, "mediaType": "application/octet-stream"}
    manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode()
    content.manifests["3.10.2"] = (images.MANIFEST, manifest)
    with pytest.raises(ArtifactError, match="whose name is not a SHA-256"):
        pull(host, "amd64", tmp_path)
    assert victim.read_text() == "mine"


def test_a_manifest_that_differs_from_the_index_is_refused(host: str, content: Content, tmp_path: Path) -> None:
    name = content.manifest_for("amd64")
    kind, body = content.manifests[name]
    content.manifests[name] = (kind, body + b" ")
    with pytest.raises(ArtifactError, match="manifest"):
        pull(host, "amd64", tmp_path)


def test_an_unpublished_architecture_is_named(host: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="linux/s390x"):
        pull(host, "s390x", tmp_path)


def test_a_missing_tag_is_named(host: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifests/9\.9: does not exist"):
        pull(host, "amd64", tmp_path, tag="9.9")


def test_an_unreachable_registry_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"127\.0\.0\.1:1/v2/pause.*is unreachable"):
        pull("127.0.0.1:1", "amd64", tmp_path)
