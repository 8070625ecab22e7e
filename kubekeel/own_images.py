"""The user's image archives: of docker, podman, skopeo, nerdctl or ctr, with one image or several.

Each image becomes an archive of its own, as `kubekeel.images` writes it.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from kubekeel import images


@dataclass(frozen=True)
class _Found:
    """An image in an archive; `parts` has the names of its members by digest."""

    reference: str
    arch: str
    manifest: bytes
    media_type: str
    parts: Mapping[str, str]


def write_each(source: Path, folder: Path, archs: Collection[str]) -> Iterator[tuple[str, Path]]:
    """Write each image of these architectures into `folder`, and yield its architecture and archive.

    Raises ValueError if the archive is damaged, of an unknown kind, or has an image without a name.
    """
    with tarfile.open(source) as tar:
        members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
        archive = _Archive(tar, members)
        for number, found in enumerate(each for each in archive.images() if each.arch in archs):
            blobs = {digest: archive.extracted(name, digest, folder) for digest, name in found.parts.items()}
            target = folder / f"{number}.tar"
            images.write_archive(
                target,
                reference=found.reference,
                arch=found.arch,
                manifest=found.manifest,
                media_type=found.media_type,
                blobs=blobs,
            )
            yield found.arch, target


class _Archive:
    def __init__(self, tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo]) -> None:
        self._tar = tar
        self._members = members

    def images(self) -> Iterator[_Found]:
        try:
            if "index.json" in self._members:
                yield from self._of_layout()
            elif "manifest.json" in self._members:
                yield from self._of_docker()
            else:
                raise ValueError("it has neither index.json nor manifest.json")
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is not a valid archive of images ({error!r})") from error

    def _of_layout(self) -> Iterator[_Found]:
        for described in self._json("index.json")["manifests"]:
            reference = _reference(described.get("annotations") or {})
            for each in self._of_platforms(described):
                manifest = self._read(_blob(each["digest"]))
                content = json.loads(manifest)
                arch = self._json(_blob(content["config"]["digest"])).get("architecture", "")
                digests = [content["config"]["digest"], *(layer["digest"] for layer in content["layers"])]
                parts = {digest: _blob(digest) for digest in digests}
                yield _Found(reference, arch, manifest, each["mediaType"], parts)

    def _of_platforms(self, described: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return the manifests of an image that are in the archive: it may have been saved for some platforms only."""
        if described["mediaType"] in images.MANIFESTS:
            return [described]
        listed = self._json(_blob(described["digest"]))["manifests"]
        # Attestations of an image are listed beside it, with an unknown platform.
        return [
            each
            for each in listed
            if _blob(each["digest"]) in self._members and (each.get("platform") or {}).get("os", "linux") == "linux"
        ]

    def _of_docker(self) -> Iterator[_Found]:
        for described in self._json("manifest.json"):
            if not described.get("RepoTags"):
                raise ValueError("it has an image without a name; save the image by its name")
            config = self._read(described["Config"])
            layers = {self._digest(name): name for name in described["Layers"]}
            manifest = images.manifest(
                config=config, layers=[(digest, self._member(name).size) for digest, name in layers.items()]
            )
            parts = {f"sha256:{sha256(config).hexdigest()}": described["Config"], **layers}
            for tag in described["RepoTags"]:
                arch = json.loads(config)["architecture"]
                yield _Found(_whole(tag), arch, manifest, images.MANIFEST, parts)

    def extracted(self, name: str, digest: str, folder: Path) -> Path:
        """Extract a part into a file of its own, and check its digest."""
        target = folder / images.hex_of(digest)
        if not target.exists():
            with self._open(name) as content, target.open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
            if f"sha256:{images.sha256_of(target)}" != digest:
                raise ValueError(f"{digest} is damaged")
        return target

    def _member(self, name: str) -> tarfile.TarInfo:
        member = self._members[name]
        # Layers that images share are links.
        return self._member(_resolved(name, member.linkname)) if member.issym() else member

    def _open(self, name: str) -> Any:
        if name not in self._members or (content := self._tar.extractfile(self._member(name))) is None:
            raise ValueError(f"{name} is missing")
        return content

    def _read(self, name: str) -> bytes:
        with self._open(name) as content:
            read: bytes = content.read()
            return read

    def _json(self, name: str) -> Any:
        return json.loads(self._read(name))

    def _digest(self, name: str) -> str:
        digest = sha256()
        with self._open(name) as content:
            while chunk := content.read(1 << 20):
                digest.update(chunk)
        return f"sha256:{digest.hexdigest()}"


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _resolved(name: str, link: str) -> str:
    folder = Path(name).parent
    while link.startswith("../"):
        folder, link = folder.parent, link.removeprefix("../")
    return str(folder / link)


def _reference(annotations: Mapping[str, str]) -> str:
    """Return the full name; skopeo and podman write it where others write only a tag."""
    name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name", "")
    if "/" not in name and ":" not in name:
        raise ValueError("it has an image without a name; save the image by its name")
    return _whole(name)


def _whole(name: str) -> str:
    """Return a name with the default registry and tag if it leaves them out."""
    first, slash, _ = name.partition("/")
    if not (slash and (set(first) & set(".:") or first == "localhost")):
        name = f"docker.io/{name}" if slash else f"docker.io/library/{name}"
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
