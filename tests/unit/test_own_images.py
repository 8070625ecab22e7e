"""Saved archives of images become archives of one image each, with unchanged digests."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kubekeel import images, own_images
from kubekeel.artifacts import ArtifactError
from kubekeel.artifacts.cache import Cache
from kubekeel.artifacts.supply import _own

LAYER = b"a layer, as far as this is about it" * 100
INDEX = images.INDEX


def digest(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


def dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


def config(arch: str = "amd64") -> bytes:
    return dumped({"architecture": arch, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(LAYER)]}})


def write(path: Path, members: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path


def layout(annotations: Mapping[str, str], archs: tuple[str, ...] = ("amd64",)) -> dict[str, bytes]:
    """Return an OCI layout with one image, for one or more platforms."""
    blobs = {digest(LAYER): LAYER}
    listed = []
    for arch in archs:
        manifest = images.manifest(config(arch), [(digest(LAYER), len(LAYER))])
        blobs |= {digest(config(arch)): config(arch), digest(manifest): manifest}
        platform = {"architecture": arch, "os": "linux"}
        listed.append({"mediaType": images.MANIFEST, "digest": digest(manifest), "size": 1, "platform": platform})
    if len(archs) > 1:
        attestation = {"mediaType": images.MANIFEST, "digest": digest(b"x"), "platform": {"os": "unknown"}}
        lacking = {"mediaType": images.MANIFEST, "digest": digest(b"y"), "platform": {"os": "linux"}}
        index = dumped({"mediaType": INDEX, "manifests": [*listed, attestation, lacking]})
        blobs[digest(index)] = index
        listed = [{"mediaType": INDEX, "digest": digest(index), "size": len(index)}]
    index = dumped({"schemaVersion": 2, "manifests": [{**listed[0], "annotations": annotations}]})
    named = {f"blobs/{name.replace(':', '/')}": content for name, content in blobs.items()}
    return {"oci-layout": b"{}", "index.json": index, **named}


def docker(tags: list[str] | None) -> dict[str, bytes]:
    listed = dumped([{"Config": "c.json", "RepoTags": tags, "Layers": ["1/layer.tar", "2/layer.tar"][:1]}])
    return {"c.json": config(), "1/layer.tar": LAYER, "manifest.json": listed}


def found(source: Path, folder: Path, *archs: str) -> list[tuple[str, str, str]]:
    written = []
    for arch, file in own_images.write_each(source, folder, archs or ("amd64",)):
        images.verify_archive(file)
        written.append((arch, *images.image_of(file)))
    return written


@pytest.mark.parametrize(
    "annotations",
    [
        {"io.containerd.image.name": "docker.io/library/app:v1", "org.opencontainers.image.ref.name": "v1"},
        {"org.opencontainers.image.ref.name": "app:v1"},
    ],
)
def test_an_image_keeps_its_name_and_digest(tmp_path: Path, annotations: dict[str, str]) -> None:
    source = write(tmp_path / "a", layout(annotations))
    manifest = images.manifest(config(), [(digest(LAYER), len(LAYER))])
    assert found(source, tmp_path) == [("amd64", "docker.io/library/app:v1", digest(manifest))]


def test_only_the_needed_platforms_of_an_image_are_extracted(tmp_path: Path) -> None:
    several = layout({"io.containerd.image.name": "r.example/app:v1"}, ("amd64", "arm64"))
    source = write(tmp_path / "a", several)
    assert [each[0] for each in found(source, tmp_path, "arm64")] == ["arm64"]
    assert [each[0] for each in found(source, tmp_path, "amd64", "arm64")] == ["amd64", "arm64"]


@pytest.mark.parametrize(
    ("tag", "reference"),
    [
        ("app:v1", "docker.io/library/app:v1"),
        ("team/app", "docker.io/team/app:latest"),
        ("localhost/app:v1", "localhost/app:v1"),
        ("registry.example:5000/app", "registry.example:5000/app:latest"),
    ],
)
def test_an_archive_in_docker_s_older_format_gives_an_image_for_each_name(
    tmp_path: Path, tag: str, reference: str
) -> None:
    source = write(tmp_path / "a", docker([tag, "other.example/app:v2"]))
    assert [each[1] for each in found(source, tmp_path)] == [reference, "other.example/app:v2"]


def test_shared_layers_are_found_by_their_links(tmp_path: Path) -> None:
    members = docker(["app:v1"])
    members["manifest.json"] = members["manifest.json"].replace(b"1/layer.tar", b"2/layer.tar")
    assert len(found(write(tmp_path / "a", members, {"2/layer.tar": "../1/layer.tar"}), tmp_path)) == 1


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"x": b""}, "it has neither index.json nor manifest.json"),
        (docker(None), "it has an image without a name; save the image by its name"),
        (layout({}), "it has an image without a name; save the image by its name"),
        (
            {**layout({"io.containerd.image.name": "a:1"}), f"blobs/{digest(LAYER).replace(':', '/')}": b"y"},
            "is damaged",
        ),
        ({"index.json": b"[]"}, "it is not a valid archive of images"),
        ({"index.json": b"{"}, "Expecting property name"),
    ],
)
def test_an_unusable_archive_is_named_with_the_reason(tmp_path: Path, members: dict[str, bytes], why: str) -> None:
    source = write(tmp_path / "a.tar", members)
    with pytest.raises(ArtifactError) as refused:
        _own(Cache(tmp_path / "cache"), source, ["amd64"])
    (fault,) = refused.value.faults
    assert fault.startswith(f"{source}: cannot be used (")
    assert why in fault


@pytest.mark.parametrize("name", ["sha256:../../../outside", "../../../outside", "sha256:{folder}/outside"])
def test_an_archive_writes_no_file_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    name = name.format(folder=tmp_path)
    manifest = images.manifest(config(), [(name, len(LAYER))])
    described = {
        "mediaType": images.MANIFEST,
        "digest": digest(manifest),
        "annotations": {"io.containerd.image.name": "a:1"},
    }
    blobs = {digest(config()): config(), digest(manifest): manifest, name: LAYER}
    members = {f"blobs/{each.replace(':', '/')}": content for each, content in blobs.items()}
    source = write(tmp_path / "a.tar", {"index.json": dumped({"manifests": [described]}), **members})
    with pytest.raises(ArtifactError, match="whose name is not a SHA-256"):
        _own(Cache(tmp_path / "cache"), source, ["amd64"])
    assert list(tmp_path.rglob("outside*")) == []


def test_an_archive_without_an_image_for_the_nodes_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tar", docker(["app:v1"]))
    with pytest.raises(ArtifactError, match="it has no image for arm64"):
        _own(Cache(tmp_path / "cache"), source, ["arm64"])


def test_an_archive_is_read_again_only_if_it_changed_or_the_cache_lost_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, cache, reads = write(tmp_path / "a.tar", docker(["app:v1"])), Cache(tmp_path / "cache"), []
    real = own_images.write_each
    monkeypatch.setattr(own_images, "write_each", lambda *arguments: reads.append(arguments) or real(*arguments))
    first = _own(cache, source, ["amd64"])
    assert _own(cache, source, ["amd64"]) == first
    assert len(reads) == 1
    cache.object(first[0][1]).unlink()
    assert _own(cache, source, ["amd64"]) == first
    write(source, docker(["app:v2"]))
    assert _own(cache, source, ["amd64"]) != first
    assert len(reads) == 3
