"""Pull an image from a registry that speaks the OCI distribution protocol (Docker registry v2)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from kubekeel import images
from kubekeel.artifacts.cache import digest
from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.transfer import check, client, download

_DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_LISTS = (images.INDEX, _DOCKER_LIST)
_LOCAL = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")


@dataclass(frozen=True)
class Reference:
    """An image's name: registry host, repository and tag."""

    host: str
    repository: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse HOST/REPOSITORY:TAG; all three parts are required."""
        host, _, rest = text.partition("/")
        repository, _, tag = rest.rpartition(":")
        return cls(host, repository, tag)

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}:{self.tag}"


class Registry:
    """One registry, over TLS unless it is on this computer."""

    def __init__(self, host: str) -> None:
        scheme = "http" if _LOCAL.fullmatch(host) else "https"
        self._base = f"{scheme}://{host}/v2"
        self._client = client()
        self._authorization: dict[str, str] = {}

    def pull(self, reference: Reference, arch: str, archive: Path) -> None:
        """Write the image for `arch` to an archive, each part verified by the digest that names it."""
        manifest, media_type = self._manifest(reference, arch)
        content = json.loads(manifest)
        blobs = {}
        for part in [content["config"], *content["layers"]]:
            blobs[part["digest"]] = self._blob(reference, part["digest"], archive.parent)
        images.write_archive(
            archive,
            reference=str(reference),
            arch=arch,
            manifest=manifest,
            media_type=media_type,
            blobs=blobs,
        )

    def _manifest(self, reference: Reference, arch: str) -> tuple[bytes, str]:
        body, media_type = self._get_manifest(reference, reference.tag)
        if media_type in _LISTS:
            wanted = _for_platform(reference, json.loads(body), arch)
            body, media_type = self._get_manifest(reference, wanted)
            if (seen := f"sha256:{sha256(body).hexdigest()}") != wanted:
                raise ArtifactError(f"{reference}: is damaged (manifest {seen}, not {wanted}); try again")
        if media_type not in images.MANIFESTS:
            raise ArtifactError(f"{reference}: is of an unknown kind ({media_type}); use another source")
        return body, media_type

    def _get_manifest(self, reference: Reference, version: str) -> tuple[bytes, str]:
        url = f"{self._base}/{reference.repository}/manifests/{version}"
        headers = {"Accept": ", ".join((*_LISTS, *images.MANIFESTS))}
        response = self._get(url, headers)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._authorization = self._authorize(reference, response.headers.get("WWW-Authenticate", ""))
            response = self._get(url, headers)
        check(url, response)
        return response.content, response.headers.get("Content-Type", "").partition(";")[0]

    def _get(self, url: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        try:
            return self._client.get(url, headers={**(headers or {}), **self._authorization})
        except httpx.TransportError as error:
            raise ArtifactError(
                f"{url}: is unreachable ({error}); check the connection, or set artifact_source to 'mirror'"
            ) from error

    def _authorize(self, reference: Reference, challenge: str) -> dict[str, str]:
        """Return the header that answers a bearer challenge, with an anonymous token."""
        parameters = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = parameters.get("realm", "")
        if not challenge.lower().startswith("bearer ") or not realm:
            raise ArtifactError(
                f"{reference}: its registry asks for a login ({challenge}); use another source, since"
                " Kubekeel pulls public images only"
            )
        scope = parameters.get("scope", f"repository:{reference.repository}:pull")
        query = httpx.QueryParams(service=parameters.get("service", ""), scope=scope)
        response = self._get(f"{realm}?{query}")
        check(realm, response)
        answer = response.json()
        return {"Authorization": f"Bearer {answer.get('token') or answer['access_token']}"}

    def _blob(self, reference: Reference, name: str, folder: Path) -> Path:
        try:
            target = folder / images.hex_of(name)
        except ValueError as error:
            raise ArtifactError(f"{reference}: {error}; use another source") from error
        download(self._client, f"{self._base}/{reference.repository}/blobs/{name}", target, self._authorization)
        if (seen := f"sha256:{digest(target)}") != name:
            raise ArtifactError(f"{reference}: is damaged (blob {seen}, not {name}); try again")
        return target


def _for_platform(reference: Reference, index: Mapping[str, Any], arch: str) -> str:
    """Return the digest of the manifest for Linux on `arch`."""
    for entry in index["manifests"]:
        platform = entry.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", arch):
            return str(entry["digest"])
    raise ArtifactError(f"{reference}: is not published for linux/{arch}; use another source")
