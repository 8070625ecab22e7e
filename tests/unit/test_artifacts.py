"""Artifacts from a mirror over the file system and over real HTTP, and from source with a real Go build."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kubekeel import images
from kubekeel.artifacts import (
    GZIP,
    ZSTD,
    ArtifactError,
    Needs,
    Pins,
    Supply,
    checksums,
    decide_source,
    supply,
    toolchain,
    transfer,
    web_view,
)
from kubekeel.artifacts.bundle import LOCK_FILE, bundle
from kubekeel.artifacts.cache import Cache
from kubekeel.artifacts.publisher import Publisher, image_of, listing
from kubekeel.release import Binary, Component, release
from tests.web_server import WebServer, serving

VERSION = "v1.37.2"
PROJECT = Path(__file__).parents[2]
NODE = Needs("amd64", frozenset({"kubelet", "etcd", "etcdctl", "runc", "bridge", "flanneld"}), frozenset({"pause"}))
PULLED = {
    "pause": "registry.k8s.io/pause:3.10.2",
    "metrics-server": "registry.k8s.io/metrics-server/metrics-server:v0.9.0",
    "headlamp": "ghcr.io/headlamp-k8s/headlamp:v0.44.0",
}


def program(name: str, arch: str, flavour: str = "") -> bytes:
    """Return a binary's placeholder bytes, enough to cut their download in the middle."""
    return f"{name} for {arch} {flavour}\n".encode() * 4000


def lay_tree(root: Path, flavour: str = "") -> Path:
    """Write the publishers' files and checksum files, with their publishers' names and formats."""
    sums: dict[str, list[tuple[str, str]]] = {}
    for arch in ("amd64", "arm64"):
        for component in release(VERSION).components:
            files: dict[str, dict[str, bytes]] = {}
            for binary in component.binaries if component.published else ():
                listed = listing(component, arch, binary)
                member = binary.member.format(version=component.version, arch=arch)
                files.setdefault(listed.url, {})[member] = program(binary.name, arch, flavour)
                sums.setdefault(listed.checksums, [])
            for url, members in files.items():
                content = members[""] if "" in members else tarball(members)
                write(root, url, content)
                listed = listing(component, arch, next(b for b in component.binaries if url_of(b, arch) == url))
                sums[listed.checksums].append((listed.name, sha256(content).hexdigest()))
    for url, entries in sums.items():
        write(root, url, checksum_file(url, entries))
    for upstream in PULLED.values():
        for arch in ("amd64", "arm64"):
            lay_image(root, upstream, arch)
    for component in release(VERSION).components:
        for arch in ("amd64", "arm64") if component.image else ():
            lay_image_of_binaries(root, component, arch, flavour)
    return root


def url_of(binary: Binary, arch: str) -> str:
    return listing(release(VERSION).component_of(binary.name), arch, binary).url


def write(root: Path, url: str, content: bytes) -> None:
    file = root / url.removeprefix("https://")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def tarball(members: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def checksum_file(url: str, entries: list[tuple[str, str]]) -> bytes:
    if "api.github.com" in url:
        assets = [{"name": name, "digest": f"sha256:{digest}"} for name, digest in entries]
        return json.dumps({"assets": assets}).encode()
    if "dl.k8s.io" in url:
        return entries[0][1].encode()
    return "".join(f"{digest}  release/{name}\n" for name, digest in entries).encode()


def lay_image(root: Path, upstream: str, arch: str) -> None:
    binary, archive = root / "binary", root / "image.tar"
    root.mkdir(exist_ok=True)
    binary.write_bytes(program(upstream, arch))
    images.write_binary_image(archive, binary, name="main", reference=upstream, arch=arch, user="")
    binary.unlink()
    lay_archive(root, upstream, arch, archive)


def lay_image_of_binaries(root: Path, component: Component, arch: str, flavour: str) -> None:
    """Write the image of a publisher that publishes its binaries in an image only."""
    folder, archive, upstream = root / "files", root / "image.tar", image_of(component)
    for binary in component.binaries:
        write(folder, binary.member, program(binary.name, arch, flavour))
    images.write_folder_image(archive, folder, reference=upstream, arch=arch, launch=images.Launch(()))
    shutil.rmtree(folder)
    lay_archive(root, upstream, arch, archive)


def lay_archive(root: Path, upstream: str, arch: str, archive: Path) -> None:
    repository, _, tag = upstream.rpartition(":")
    url = f"{repository}/{tag}-{arch}.tar"
    digest = sha256(archive.read_bytes()).hexdigest()
    write(root, url, archive.read_bytes())
    write(root, f"{url}.sha256", f"{digest}  {tag}-{arch}.tar\n".encode())
    archive.unlink()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def site(tree: Path) -> Iterator[WebServer]:
    with serving(tree) as site:
        yield site


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_PAUSE", 0)


Get = Callable[..., Supply]


@pytest.fixture
def get(tmp_path: Path) -> Get:
    """Return supply() with the test's own cache and lock file."""

    def run(mirror: Path | str | None, *needs: Needs, source: str = "mirror", cache: str = "cache") -> Supply:
        pins = Pins(tmp_path / LOCK_FILE)
        found = supply(
            needs or [NODE],
            kubernetes_version=VERSION,
            source=source,
            mirror=None if mirror is None else str(mirror),
            pins=pins,
            cache=tmp_path / cache,
        )
        pins.save(Cache(tmp_path / cache))
        return found

    return run


def objects(cache: Path) -> set[str]:
    return {file.name for file in (cache / "objects").iterdir() if not file.name.endswith(".seen")}


def check_binary(result: Supply, name: str, arch: str) -> None:
    artifact = result.binary(name, arch)
    content = artifact.path.read_bytes()
    assert content == program(name, arch)
    assert artifact.sha256 == sha256(content).hexdigest()
    assert gzip.decompress(artifact.packed(GZIP).file.read_bytes()) == content
    assert os.access(artifact.path, os.X_OK)


def test_a_mirror_folder_gives_every_binary_and_image_for_both_architectures(tree: Path, get: Get) -> None:
    published = [each for each in release(VERSION).components if each.published or each.image]
    binaries = frozenset(binary.name for component in published for binary in component.binaries)
    names = frozenset(image.name for image in release(VERSION).images)
    result = get(tree, *(Needs(arch, binaries, names) for arch in ("amd64", "arm64")))
    assert result.source == "mirror"
    for arch in ("amd64", "arm64"):
        for name in binaries:
            check_binary(result, name, arch)
        for name in names:
            image = result.image(name, arch)
            images.verify_archive(image.archive)
            assert images.image_of(image.archive) == (image.reference, image.digest)
            assert image.reference == PULLED.get(name) or image.reference.startswith(f"kubekeel.local/{name}:v")
            assert gzip.decompress(image.packed(GZIP).file.read_bytes()) == image.archive.read_bytes()


def test_an_image_without_its_binary_is_refused(tree: Path, get: Get, tmp_path: Path) -> None:
    own = shutil.copytree(tree, tmp_path / "tree")
    upstream = image_of(release(VERSION).component_of("kube-network-policies"))
    lay_image(own, upstream, "amd64")
    with pytest.raises(ArtifactError, match=r"kube-network-policies:v1\.1\.0: does not contain bin/netpol \("):
        get(own, Needs("amd64", frozenset({"kube-network-policies"}), frozenset()))


def test_the_last_layer_of_an_image_decides_its_files(tmp_path: Path) -> None:
    layers = {}
    for name in ("first", "last"):
        content = tarball({"bin/netpol": name.encode()})
        layers[f"sha256:{sha256(content).hexdigest()}"] = tmp_path / name
        (tmp_path / name).write_bytes(content)
    config = tmp_path / "config"
    config.write_bytes(b"{}")
    manifest = images.manifest(b"{}", [(digest, file.stat().st_size) for digest, file in layers.items()])
    images.write_archive(
        tmp_path / "image.tar",
        reference="example.org/engine:v1",
        arch="amd64",
        manifest=manifest,
        media_type=images.MANIFEST,
        blobs={**layers, f"sha256:{sha256(b'{}').hexdigest()}": config},
    )
    images.extract(tmp_path / "image.tar", "bin/netpol", tmp_path / "netpol")
    assert (tmp_path / "netpol").read_bytes() == b"last"


def test_a_mirror_url_gives_the_same_files_and_is_asked_once(site: WebServer, get: Get) -> None:
    first = get(site.url)
    for name in NODE.binaries:
        check_binary(first, name, "amd64")
    requests = len(site.requests)
    assert get(site.url) == first
    assert len(site.requests) == requests


def test_only_needed_files_are_fetched(site: WebServer, get: Get) -> None:
    get(site.url, Needs("arm64", frozenset({"kubelet"}), frozenset()))
    assert site.requests == [
        "/dl.k8s.io/release/v1.37.2/bin/linux/arm64/kubelet.sha256",
        "/dl.k8s.io/release/v1.37.2/bin/linux/arm64/kubelet",
    ]


def test_an_interrupted_download_continues_where_it_stopped(site: WebServer, get: Get) -> None:
    checksum = 64
    site.cuts = [checksum, 30_000, 20_000]
    check_binary(get(site.url, Needs("amd64", frozenset({"kubelet"}), frozenset())), "kubelet", "amd64")
    assert site.ranges == ["bytes=30000-", "bytes=50000-"]


def test_a_download_that_always_breaks_leaves_nothing_behind(site: WebServer, get: Get, tmp_path: Path) -> None:
    site.cuts = [1000] * 20
    with pytest.raises(ArtifactError, match=r"linux/amd64/kubelet: cannot be fetched .*; check the"):
        get(site.url, Needs("amd64", frozenset({"kubelet"}), frozenset()))
    assert objects(tmp_path / "cache") == set()
    assert list((tmp_path / "cache" / "work").iterdir()) == []


def test_a_failing_server_is_tried_again_and_named(site: WebServer, get: Get) -> None:
    site.status = 503
    with pytest.raises(ArtifactError, match=r"cannot be fetched .*status 503"):
        get(site.url)
    assert len(site.requests) == 4
    assert len(set(site.requests)) == 1


def test_a_binary_that_differs_from_its_checksum_is_refused(tree: Path, get: Get, tmp_path: Path) -> None:
    own = shutil.copytree(tree, tmp_path / "tree")
    kubelet = own / "dl.k8s.io/release/v1.37.2/bin/linux/amd64/kubelet"
    kubelet.write_bytes(kubelet.read_bytes() + b"!")
    with pytest.raises(ArtifactError, match=r"kubelet: does not match .*kubelet\.sha256 \(sha256 "):
        get(own)
    assert sha256(kubelet.read_bytes()).hexdigest() not in objects(tmp_path / "cache")


def test_a_file_missing_in_the_mirror_is_named(tree: Path, get: Get, tmp_path: Path) -> None:
    own = shutil.copytree(tree, tmp_path / "tree")
    (own / "dl.k8s.io/release/v1.37.2/bin/linux/amd64/kubelet").unlink()
    with pytest.raises(ArtifactError, match=r"linux/amd64/kubelet: is not in the mirror; complete it"):
        get(own)


def test_the_lock_file_refuses_changed_binaries_and_names_them_all(tree: Path, get: Get, tmp_path: Path) -> None:
    get(tree)
    pinned = (tmp_path / LOCK_FILE).read_text()
    other = lay_tree(tmp_path / "other", "with a surprise")
    with pytest.raises(ArtifactError) as refused:
        get(other, cache="empty cache")
    assert len(refused.value.faults) == len(NODE.binaries)
    for name in NODE.binaries:
        assert f"{name} v" in str(refused.value)
    assert "find out why" in str(refused.value)
    assert (tmp_path / LOCK_FILE).read_text() == pinned


def test_the_lock_file_pins_an_image_by_its_manifest(tree: Path, get: Get, tmp_path: Path) -> None:
    result = get(tree)
    pinned = json.loads((tmp_path / LOCK_FILE).read_text())["artifacts"]
    digest = result.image("pause", "amd64").digest
    assert pinned["pause 3.10.2 amd64 upstream"]["sha256"] == digest.removeprefix("sha256:")


def spoil_index(archive: Path, spoil: Callable[[dict[str, Any]], None]) -> None:
    """Change an archive's index and its checksum, as a malicious mirror can."""
    with tarfile.open(archive) as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
    index = json.loads(contents["index.json"])
    spoil(index["manifests"][0])
    contents["index.json"] = json.dumps(index).encode()
    with tarfile.open(archive, "w") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    Path(f"{archive}.sha256").write_text(f"{sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n")


OTHER_REFERENCES = (
    "example.org/other:v1",
    'registry.k8s.io/pause:3.10.2"\n      command: ["/bin/sh", "-c", "id"]\n      #',
    ["registry.k8s.io/pause:3.10.2"],
    None,
)


@pytest.mark.parametrize("reference", OTHER_REFERENCES)
def test_a_mirror_cannot_give_an_image_another_reference(
    tree: Path, get: Get, tmp_path: Path, reference: object
) -> None:
    own = shutil.copytree(tree, tmp_path / "tree")
    archive = own / "registry.k8s.io/pause/3.10.2-amd64.tar"
    spoil_index(archive, lambda described: described["annotations"].update({"io.containerd.image.name": reference}))
    with pytest.raises(ArtifactError, match=r"is not the image registry\.k8s\.io/pause:3\.10\.2"):
        get(own)


def test_a_mirror_cannot_add_to_a_pinned_image(tree: Path, get: Get, tmp_path: Path) -> None:
    plain = get(tree).image("pause", "amd64")
    own = shutil.copytree(tree, tmp_path / "tree")
    archive = own / "registry.k8s.io/pause/3.10.2-amd64.tar"
    spoil_index(archive, lambda described: described["annotations"].update({"more": "than is pinned"}))
    spoilt = get(own, cache="empty cache").image("pause", "amd64")
    assert spoilt.archive.read_bytes() == plain.archive.read_bytes()


def test_a_damaged_lock_file_is_never_overwritten(tree: Path, get: Get, tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("{")
    with pytest.raises(ArtifactError, match=r"is not a lock file .*; restore it"):
        get(tree)
    assert (tmp_path / LOCK_FILE).read_text() == "{"


def test_a_changed_byte_in_the_cache_is_found_and_repaired(tree: Path, get: Get) -> None:
    artifact = get(tree).binary("kubelet", "amd64")
    seen = artifact.path.stat()
    artifact.path.chmod(0o644)
    with artifact.path.open("r+b") as file:
        file.write(b"K")
    os.utime(artifact.path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    check_binary(get(tree), "kubelet", "amd64")


def test_a_cache_with_missing_files_is_filled_again(tree: Path, get: Get) -> None:
    artifact = get(tree).binary("kubelet", "amd64")
    artifact.packed(GZIP).file.unlink()
    artifact.path.unlink()
    check_binary(get(tree), "kubelet", "amd64")


def test_no_file_is_packed_before_a_host_needs_it(tree: Path, get: Get, tmp_path: Path) -> None:
    found = get(tree)
    before = objects(tmp_path / "cache")
    packed = found.binary("kubelet", "amd64").packed(ZSTD)
    added = objects(tmp_path / "cache") - before
    assert packed.sha256 in added
    assert {each.packed(ZSTD).sha256 for each in found.all} == added
    assert packed.name == "kubelet.zst"


def test_a_killed_run_s_files_are_deleted_unless_another_run_is_active(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.work() as folder:
        (folder / "half").write_bytes(b"half")
        Cache(tmp_path)
        assert (folder / "half").exists()
    (tmp_path / "work" / "left").mkdir()
    Cache(tmp_path)
    assert list((tmp_path / "work").iterdir()) == []


def test_simultaneous_runs_share_one_cache_and_one_download(site: WebServer, tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from kubekeel.artifacts import Cache, Needs, Pins, supply
needs = Needs("amd64", frozenset({sorted(NODE.binaries)}), frozenset({{"pause", "kube-scheduler"}}))
pins = Pins(Path("{tmp_path / LOCK_FILE}"))
result = supply([needs], kubernetes_version="{VERSION}", source="mirror", mirror="{site.url}",
                pins=pins, cache=Path("{tmp_path / "cache"}"))
pins.save(Cache(Path("{tmp_path / "cache"}")))
print(sorted((name, each.sha256) for (name, _), each in result.binaries.items()))
"""
    runs = [subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE) for _ in range(3)]
    outputs = {run.communicate()[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len(outputs) == 1
    assert len(site.requests) == len(set(site.requests))
    assert not list(tmp_path.glob(f".{LOCK_FILE}.*"))


def test_all_unknown_needs_are_listed_together(get: Get, tree: Path) -> None:
    with pytest.raises(ArtifactError) as refused:
        get(tree, Needs("s390x", frozenset({"kubelt"}), frozenset({"dash"})))
    assert [fault.split(":")[0] for fault in refused.value.faults] == [
        "architecture",
        "binary kubelt",
        "image dash",
    ]


def test_unpublished_binaries_are_named(get: Get, tree: Path) -> None:
    with pytest.raises(ArtifactError) as refused:
        get(tree, Needs("amd64", frozenset({"metrics-server", "pause"}), frozenset()))
    assert len(refused.value.faults) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "internet"}, r"artifact_source: is not a source \('internet'\); use one of auto, upstream"),
        ({"source": "mirror"}, "artifact_mirror: is not set"),
    ],
)
def test_wrong_settings_are_refused(get: Get, settings: dict[str, str], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        get(None, **settings)


def test_an_unknown_kubernetes_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"kubernetes_version: is older .*\(v1\.0\.0\); take a patch release of 1"):
        supply([], kubernetes_version="v1.0.0", source="source", mirror=None, pins=Pins(tmp_path / "l"), cache=tmp_path)


def test_failing_and_unreachable_publishers_do_not_answer(site: WebServer, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert Publisher(cache, site.url).answers(release(VERSION))
    site.status = 500
    assert not Publisher(cache, site.url).answers(release(VERSION))
    assert not Publisher(cache, "http://127.0.0.1:1").answers(release(VERSION))


@pytest.mark.parametrize(("answers", "decided"), [(True, "upstream"), (False, "source")])
def test_auto_decides_the_source_once_and_pins_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool, decided: str
) -> None:
    def decide(save: bool = True) -> str:
        pins = Pins(tmp_path / "lock")
        source = decide_source(kubernetes_version=VERSION, source="auto", mirror=None, pins=pins, cache=tmp_path)
        if save:
            pins.save(Cache(tmp_path))
        return source

    monkeypatch.setattr(Publisher, "answers", lambda *_: answers)
    assert decide(save=False) == decided
    assert not (tmp_path / "lock").exists()
    assert decide() == decided
    monkeypatch.setattr(Publisher, "answers", lambda *_: not answers)
    assert decide() == decided
    assert json.loads((tmp_path / "lock").read_text())["source"] == decided


def test_a_bundle_is_a_mirror_with_its_pins(tree: Path, get: Get, tmp_path: Path) -> None:
    bundle(tmp_path / "bundle", release(VERSION), ["amd64"], mirror=str(tree))
    shutil.copy(tmp_path / "bundle" / LOCK_FILE, tmp_path / LOCK_FILE)
    result = get(tmp_path / "bundle")
    for name in NODE.binaries:
        check_binary(result, name, "amd64")
    assert result.image("pause", "amd64").reference == PULLED["pause"]
    bundled = {
        str(file.relative_to(tmp_path / "bundle")) for file in (tmp_path / "bundle").rglob("*") if file.is_file()
    }
    mirrored = {str(file.relative_to(tree)) for file in tree.rglob("*") if file.is_file()}
    assert {name for name in bundled if "arm64" in name} == set()
    assert bundled - {LOCK_FILE} == {name for name in mirrored if "arm64" not in name}


def test_the_bundle_command_says_what_to_do_next(tree: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kubekeel.artifacts", "bundle", "--arch", "amd64", "--mirror", tree]
    done = subprocess.run([*command, tmp_path / "b"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"copy its {LOCK_FILE} into the cluster's state directory" in done.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a" * 64, "a" * 64),
        ("A" * 64 + "\n", "a" * 64),
        ("b" * 64 + "  other\n" + "a" * 64 + " *file.tgz\n", "a" * 64),
        ("a" * 64 + "  release/file.tgz", "a" * 64),
        ('{"assets": [{"name": "file.tgz", "digest": "sha256:' + "a" * 64 + '"}]}', "a" * 64),
        ('{"assets": [{"name": "file.tgz", "digest": null}]}', None),
        ("a" * 64 + "  other", None),
        ("<html>not found</html>", None),
        ("", None),
    ],
)
def test_checksums_are_read_in_every_format_publishers_use(text: str, found: str | None) -> None:
    assert checksums.find(text, "file.tgz") == found


PAUSE = Needs("amd64", frozenset({"pause"}), frozenset({"pause"}))


@pytest.fixture(scope="module")
def pause(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the pause program, built for this computer."""
    folder = tmp_path_factory.mktemp("pause")
    needs = Needs(toolchain.own_arch(), frozenset({"pause"}), frozenset())
    built = supply(
        [needs], kubernetes_version=VERSION, source="source", mirror=None, pins=Pins(folder / "lock"), cache=folder
    )
    return built.binary("pause", toolchain.own_arch()).path


@pytest.mark.network
def test_source_builds_are_reproducible_for_both_architectures(get: Get) -> None:
    needs = [Needs(arch, frozenset({"pause"}), frozenset({"pause"})) for arch in ("amd64", "arm64")]
    first = get(None, *needs, source="source")
    second = get(None, *needs, source="source", cache="another cache")
    machines = {"amd64": 0x3E, "arm64": 0xB7}
    for arch in machines:
        content = first.binary("pause", arch).path.read_bytes()
        assert content[:4] == b"\x7fELF"
        assert int.from_bytes(content[18:20], "little") == machines[arch]
        assert second.binary("pause", arch).path.read_bytes() == content
        image = first.image("pause", arch)
        assert image.reference == "kubekeel.local/pause:v1.0.0"
        assert second.image("pause", arch).archive.read_bytes() == image.archive.read_bytes()


@pytest.mark.network
def test_a_build_is_pinned_with_its_recipe(get: Get, tmp_path: Path) -> None:
    artifact = get(None, PAUSE, source="source").binary("pause", "amd64")
    lock = json.loads((tmp_path / LOCK_FILE).read_text())
    pin = lock["artifacts"]["pause v1.0.0 amd64 source"]
    assert pin["sha256"] == artifact.sha256
    assert pin["recipe"].startswith("go1.")
    pin["sha256"] = "0" * 64
    (tmp_path / LOCK_FILE).write_text(json.dumps(lock))
    with pytest.raises(ArtifactError, match=r"pause v1\.0\.0 amd64 source: is not what"):
        get(None, PAUSE, source="source")
    pin["recipe"] = "go1.20.1 of long ago"
    (tmp_path / LOCK_FILE).write_text(json.dumps(lock))
    assert get(None, PAUSE, source="source").binary("pause", "amd64") == artifact


def test_the_web_view_image_is_built_from_its_root_filesystem_once(
    get: Get, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def root_filesystem(arch: str, destination: Path) -> None:
        made.append(arch)
        (destination / "application").write_text(f"for {arch}")

    monkeypatch.setattr(web_view, "key", lambda arch: f"key of {arch}")
    monkeypatch.setattr(web_view, "root_filesystem", root_filesystem)
    needs = Needs("amd64", frozenset(), frozenset({"kube-web-view"}))
    image = get(tree, needs).image("kube-web-view", "amd64")
    assert image.reference == f"kubekeel.local/kube-web-view:{web_view.VERSION}"
    images.verify_archive(image.archive)
    assert get(tree, needs).image("kube-web-view", "amd64") == image
    assert made == ["amd64"]


def test_another_web_view_image_than_the_pinned_one_is_refused(
    get: Get, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_of(packages: str) -> None:
        def root_filesystem(arch: str, destination: Path) -> None:  # noqa: ARG001 - one architecture is enough
            (destination / "application").write_text(packages)

        monkeypatch.setattr(web_view, "root_filesystem", root_filesystem)

    monkeypatch.setattr(web_view, "key", lambda arch: f"key of {arch}")
    needs = Needs("amd64", frozenset(), frozenset({"kube-web-view"}))
    made_of("Debian's packages of one day")
    image = get(tree, needs).image("kube-web-view", "amd64")
    made_of("Debian's packages of another day")
    with pytest.raises(ArtifactError, match=rf"kube-web-view {web_view.VERSION} amd64 debian: is not what"):
        get(tree, needs, cache="another computer's")
    (tmp_path / LOCK_FILE).unlink()
    assert get(tree, needs, cache="another computer's").image("kube-web-view", "amd64").digest != image.digest


@pytest.mark.network
def test_a_failed_build_shows_the_error_of_go(get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "modules" / "pause" / "v1.0.0"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module kubekeel.local/source/pause\n\ngo 1.24\n")
    (module / "main.go").write_text("package main\n\nfunc main() { mistake() }\n")
    monkeypatch.setattr("kubekeel.artifacts.modules._SHIPPED", tmp_path / "modules")
    with pytest.raises(ArtifactError, match=r"(?s)pause v1.0.0 for amd64: go build failed.*undefined: mistake"):
        get(None, PAUSE, source="source")


def test_missing_compilers_are_named_together_before_any_build(
    get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "go").symlink_to(shutil.which("go") or "/nonexistent")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ArtifactError) as refused:
        get(None, Needs("amd64", frozenset({"runc", "flanneld", "kubelet"}), frozenset()), source="source")
    (fault,) = refused.value.faults
    for package in ("gcc", "libc6-dev", "libseccomp-dev", "pkg-config"):
        assert package in fault
    assert "flannel for amd64, runc for amd64" in fault
    assert objects(tmp_path / "cache") == set()


@contextmanager
def running(pause: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield the program once it has reaped two inherited children."""
    with subprocess.Popen(["sh", "-c", 'sleep 0.1 & sleep 0.1 & exec "$0"', pause]) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: Path(f"/proc/{process.pid}/exe").resolve() == pause and not children.read_text())
        yield process
        process.kill()


@pytest.mark.network
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_pause_reaps_inherited_children_and_ends_on_a_signal(pause: Path, sent: signal.Signals) -> None:
    with running(pause) as process:
        process.send_signal(sent)
        assert process.wait(10) == 0


def until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        time.sleep(0.02)
    raise AssertionError("never held")


def test_a_web_server_s_folder_is_filled_from_an_inventory_without_any_host(tree: Path, tmp_path: Path) -> None:
    inventory, settings, served = tmp_path / "hosts.py", tmp_path / "group_data/all.py", tmp_path / "served"
    inventory.write_text('etcd = masters = minions = [("m", {"address": "192.0.2.1"})]\n')
    settings.parent.mkdir()
    mirrored = f'artifact_source = "mirror"\nartifact_mirror = "{tree}"\n'
    settings.write_text((PROJECT / "group_data/all.py").read_text() + mirrored)
    environment = os.environ | {"KUBEKEEL_CACHE_DIR": str(tmp_path / "cache")}
    environment.pop("KUBEKEEL_STATE_DIR", None)

    def fill() -> str:
        command = [sys.executable, "-m", "run.publish", str(inventory), str(served)]
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = fill()
    found = {file.name: file for file in served.rglob("*") if file.is_file()}
    assert f"{len(found)} of them new" in first
    binaries, archives = {"kubelet", "etcd"}, {"kube-apiserver.tar", "pause.tar"}
    assert {f"{name}{suffix}" for name in binaries | archives for suffix in (".gz", ".zst")} <= found.keys()
    assert gzip.decompress(found["kubelet.gz"].read_bytes()) == program("kubelet", "amd64")
    assert all(sha256(file.read_bytes()).hexdigest() == file.parent.name for file in found.values())
    assert "kubelet" in (tmp_path / "pki" / LOCK_FILE).read_text()
    assert "0 of them new" in fill()
