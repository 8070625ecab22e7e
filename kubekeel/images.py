"""OCI image archives: the same bytes from the same input on every computer and day.

Layers are not compressed: a compressor's output depends on its version, and a cluster pins the archive's digest.
`ctr --namespace k8s.io images import` takes an archive as it is.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MANIFESTS = (MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSWD = """\
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin
"""
_GROUP = """\
root:x:0:
nobody:x:65534:
nonroot:x:65532:
"""


@dataclass(frozen=True)
class Launch:
    """How a container of the image starts: `user` is uid:gid, empty for root."""

    entrypoint: tuple[str, ...]
    user: str = ""


def write_binary_image(target: Path, binary: Path, *, name: str, reference: str, arch: str, user: str) -> None:
    """Write an image that holds one static binary at /usr/local/bin/NAME, its entry point."""
    layer = target.with_name(f"{target.name}.layer")
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_member("tmp", 0o1777, tarfile.DIRTYPE))
        for folder in ("etc", "usr", "usr/local", "usr/local/bin"):
            tar.addfile(_member(folder, 0o755, tarfile.DIRTYPE))
        for path, text in (("etc/group", _GROUP), ("etc/passwd", _PASSWD)):
            tar.addfile(_member(path, 0o644, size=len(text)), io.BytesIO(text.encode()))
        with binary.open("rb") as content:
            size = binary.stat().st_size
            tar.addfile(_member(f"usr/local/bin/{name}", 0o755, size=size), content)
    _write_image(target, layer, reference, arch, Launch((f"/usr/local/bin/{name}",), user))


def write_folder_image(target: Path, folder: Path, *, reference: str, arch: str, launch: Launch) -> None:
    """Write an image of a folder's files, all owned by root and without set-user-ID bits.

    Devices, sockets and pipes are left out.
    """
    layer = target.with_name(f"{target.name}.layer")
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in _tree(folder):
            _add(tar, folder, path)
    _write_image(target, layer, reference, arch, launch)


def hex_of(digest: str) -> str:
    """Return the digits of a SHA-256 (sha256:...), which are safe as a file's name; raises ValueError for another."""
    if not (match := _SHA256.fullmatch(digest)):
        raise ValueError(f"has a part whose name is not a SHA-256 ({digest})")
    return match[1]


def write_archive(
    target: Path, *, reference: str, arch: str, manifest: bytes, media_type: str, blobs: Mapping[str, Path]
) -> None:
    """Write an archive of one image: its manifest and the blobs that it names, by digest (sha256:...)."""
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": media_type,
                "digest": _digest(manifest),
                "size": len(manifest),
                "platform": {"architecture": arch, "os": "linux"},
                "annotations": {
                    "io.containerd.image.name": reference,
                    "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
                },
            }
        ],
    }
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in ("blobs", "blobs/sha256"):
            tar.addfile(_member(folder, 0o755, tarfile.DIRTYPE))
        for name, content in (
            ("index.json", _json(index)),
            ("oci-layout", _json({"imageLayoutVersion": "1.0.0"})),
            (_blob(_digest(manifest)), manifest),
        ):
            tar.addfile(_member(name, 0o644, size=len(content)), io.BytesIO(content))
        for digest, path in sorted(blobs.items()):
            with path.open("rb") as blob:
                tar.addfile(_member(_blob(digest), 0o644, size=path.stat().st_size), blob)


def manifest(config: bytes, layers: Sequence[tuple[str, int]]) -> bytes:
    """Return the manifest of an image with this configuration and these uncompressed layers, by digest and size."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": _digest(config), "size": len(config)},
            "layers": [{"mediaType": _LAYER, "digest": digest, "size": size} for digest, size in layers],
        }
    )


def sha256_of(file: Path) -> str:
    with file.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()


def image_of(archive: Path) -> tuple[str, str]:
    """Return the reference and the digest (sha256:...) under which containerd lists an archive written here."""
    with tarfile.open(archive) as tar:
        descriptor = _descriptor(tar)
    return descriptor["annotations"]["io.containerd.image.name"], descriptor["digest"]


def verify_archive(archive: Path) -> None:
    """Raise ValueError if any part of an archive written here does not match its digest."""
    with tarfile.open(archive) as tar:
        for _ in _parts(tar, _descriptor(tar)["digest"]):
            pass


def extract(archive: Path, member: str, target: Path) -> None:
    """Write the image's file `member` to `target`; ValueError if the image has none, or is damaged."""
    with tarfile.open(archive) as tar:
        parts = dict(_parts(tar, manifest := _descriptor(tar)["digest"]))
    # A later layer's file replaces those of earlier layers.
    for layer in reversed(json.loads(parts[manifest])["layers"]):
        with tarfile.open(fileobj=io.BytesIO(parts[layer["digest"]])) as files:
            for entry in files:
                if entry.isfile() and entry.name.removeprefix("./") == member and (content := files.extractfile(entry)):
                    target.write_bytes(content.read())
                    return
    raise ValueError("none of its layers has it")


def rewrite_archive(source: Path, target: Path, *, reference: str, arch: str) -> None:
    """Rewrite the image of a foreign archive from only those parts that its manifest's digest covers.

    Raises ValueError if the archive has another reference, or is damaged.
    """
    with tarfile.open(source) as tar:
        described = _descriptor(tar)
        if (seen := described["annotations"]["io.containerd.image.name"]) != reference:
            raise ValueError(f"it has the reference {seen!r}, not {reference}")
        if described["mediaType"] not in MANIFESTS:
            raise ValueError(f"its manifest has an unknown media type, {described['mediaType']!r}")
        blobs = {}
        for digest, content in _parts(tar, described["digest"]):
            blobs[digest] = target.with_name(f"{target.name}.{digest.rpartition(':')[2]}")
            blobs[digest].write_bytes(content)
    manifest = blobs.pop(described["digest"])
    write_archive(
        target,
        reference=reference,
        arch=arch,
        manifest=manifest.read_bytes(),
        media_type=described["mediaType"],
        blobs=blobs,
    )
    for part in (manifest, *blobs.values()):
        part.unlink()


def _descriptor(tar: tarfile.TarFile) -> Any:
    """Return the index's entry of the archive's only image; ValueError if this is not such an index."""
    try:
        (described,) = json.loads(_read(tar, "index.json"))["manifests"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"its index.json is not the index of an image ({error!r})") from error
    if not all(
        isinstance(text, str)
        for text in (described["digest"], described["mediaType"], described["annotations"]["io.containerd.image.name"])
    ):
        raise ValueError("its index.json is not the index of an image")
    return described


def _parts(tar: tarfile.TarFile, manifest: str) -> Iterator[tuple[str, bytes]]:
    """Yield the digest and the content of the manifest and of every blob that it names."""
    content = _verified(tar, manifest)
    yield manifest, content
    described = json.loads(content)
    for part in (described["config"], *described["layers"]):
        yield part["digest"], _verified(tar, part["digest"])


def _verified(tar: tarfile.TarFile, digest: str) -> bytes:
    content = _read(tar, _blob(digest))
    if _digest(content) != digest:
        raise ValueError(f"{digest} is damaged")
    return content


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    try:
        file = tar.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise ValueError(f"{name} is missing")
    return file.read()


def _write_image(target: Path, layer: Path, reference: str, arch: str, launch: Launch) -> None:
    layer_digest = f"sha256:{sha256_of(layer)}"
    config = _json(
        {
            "architecture": arch,
            "os": "linux",
            "config": {
                "User": launch.user,
                "Env": [f"PATH={_PATH}"],
                "Entrypoint": list(launch.entrypoint),
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        }
    )
    described = manifest(config, [(layer_digest, layer.stat().st_size)])
    config_file = target.with_name(f"{target.name}.config")
    config_file.write_bytes(config)
    write_archive(
        target,
        reference=reference,
        arch=arch,
        manifest=described,
        media_type=MANIFEST,
        blobs={layer_digest: layer, _digest(config): config_file},
    )
    layer.unlink()
    config_file.unlink()


def _tree(folder: Path) -> Sequence[Path]:
    return sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts)


def _add(tar: tarfile.TarFile, folder: Path, path: Path) -> None:
    name = str(path.relative_to(folder))
    seen = path.lstat()
    mode = stat.S_IMODE(seen.st_mode) & 0o1777
    if stat.S_ISLNK(seen.st_mode):
        member = _member(name, 0o777, tarfile.SYMTYPE)
        member.linkname = os.readlink(path)
        tar.addfile(member)
    elif stat.S_ISDIR(seen.st_mode):
        tar.addfile(_member(name, mode, tarfile.DIRTYPE))
    elif stat.S_ISREG(seen.st_mode):
        with path.open("rb") as content:
            tar.addfile(_member(name, mode, size=seen.st_size), content)


def _member(name: str, mode: int, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    """Return a tar entry that root owns, with time 0."""
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size = kind, mode, size
    return member


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _digest(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
