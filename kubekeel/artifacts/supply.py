"""Supply the binaries and images that an inventory needs as files on this computer, each pinned and verified."""

from __future__ import annotations

import functools
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from kubekeel import images, own_images
from kubekeel.artifacts import web_view
from kubekeel.artifacts.build import Builder
from kubekeel.artifacts.cache import Cache, default_location, digest
from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.packed import Packed, Packing
from kubekeel.artifacts.pins import Pin, Pins
from kubekeel.artifacts.progress import counting, say
from kubekeel.artifacts.publisher import Publisher
from kubekeel.artifacts.versions import available
from kubekeel.release import (
    ARCHITECTURES,
    SOURCES,
    Binary,
    BinaryImage,
    Component,
    Release,
    release,
    unfit,
)

WEB_VIEW = "kube-web-view"


LOCAL_REGISTRY = "kubekeel.local"
"""The registry in the references of images that Kubekeel makes."""


@dataclass(frozen=True)
class Artifact:
    """A binary: `sha256` is the digest of the file at `path`; `pack` returns that file packed."""

    name: str
    version: str
    sha256: str
    path: Path
    pack: Callable[[Packing], Path] = field(compare=False)

    def packed(self, packing: Packing) -> Packed:
        """Return the file for the transfer to a host; the first call packs all files of the supply."""
        return Packed(self.name, packing, self.pack(packing))


@dataclass(frozen=True)
class Image:
    """An OCI archive: `digest` is containerd's digest of `reference`, `sha256` the digest of the archive.

    `pack` returns the archive packed.
    """

    name: str
    reference: str
    digest: str
    archive: Path
    sha256: str
    pack: Callable[[Packing], Path] = field(compare=False)
    pinned: bool = True

    def packed(self, packing: Packing) -> Packed:
        """Return the file for the transfer to a host; the first call packs all files of the supply."""
        return Packed(f"{self.name}.tar", packing, self.pack(packing))


@dataclass(frozen=True)
class Archive:
    """A file with the user's own images; a full node removes images that are not `pinned`."""

    path: Path
    pinned: bool


@dataclass(frozen=True)
class Needs:
    """The binaries and images that hosts of one architecture run."""

    arch: str
    binaries: frozenset[str]
    images: frozenset[str]


@dataclass(frozen=True)
class Supply:
    """The needed artifacts as files; `source` is their source (upstream, mirror or source).


    `own` are the user's own images by architecture.
    """

    source: str
    binaries: Mapping[tuple[str, str], Artifact]
    images: Mapping[tuple[str, str], Image]
    own: Mapping[str, tuple[Image, ...]] = field(default_factory=dict)

    def binary(self, name: str, arch: str) -> Artifact:
        """Return a binary by name and architecture; KeyError if it was not in the needs."""
        return self.binaries[name, arch]

    def image(self, name: str, arch: str) -> Image:
        """Return an image by name and architecture; KeyError if it was not in the needs."""
        return self.images[name, arch]

    @property
    def all(self) -> list[Artifact | Image]:
        """All files that any host may get."""
        own = (image for images in self.own.values() for image in images)
        return [*self.binaries.values(), *self.images.values(), *own]


class Origin(Protocol):
    """A source of binaries; `of_all_versions` means that it should have every published version."""

    of_all_versions: bool

    def prepare(self, wanted: Mapping[tuple[Component, str], Sequence[Binary]]) -> None:
        """Raise ArtifactError with everything that is known to be missing before the work begins."""

    def get(self, component: Component, arch: str, binaries: Sequence[Binary]) -> dict[str, Pin]:
        """Return binaries of one component by name, with their bytes in the cache."""


def supply(
    needs: Sequence[Needs],
    *,
    kubernetes_version: str,
    source: str,
    mirror: str | None,
    pins: Pins,
    versions: Mapping[str, str] | None = None,
    archives: Sequence[Archive] = (),
    cache: Path | None = None,
) -> Supply:
    """Get everything in `needs`, and nothing else, from `source`; ArtifactError if something is not available.

    `versions` has the versions of components that differ from the catalogue's, by name.
    From `archives` come only images for the needed architectures.
    Artifacts in the cache are reused. Every SHA-256 is added to `pins`, which the caller saves; a SHA-256 that
    differs from its pin is refused.
    """
    catalogue = _catalogue(kubernetes_version, versions or {}, needs)
    store = Cache(cache or default_location())
    chosen = decide_source(kubernetes_version=kubernetes_version, source=source, mirror=mirror, pins=pins, cache=cache)
    publisher = Publisher(store, mirror if chosen == "mirror" else None)
    wanted = _wanted(catalogue, needs, chosen)
    binaries = _binaries(Builder(store) if chosen == "source" else publisher, catalogue, wanted.binaries)
    pulled = {(name, arch): publisher.image(name, reference, arch) for name, reference, arch in wanted.pulled}
    pins.confirm([*binaries.values(), *(pin for pin, _ in pulled.values())])
    made = _Images(store, catalogue, binaries)
    addresses_of = {
        **{key: archive for key, (_, archive) in pulled.items()},
        **{(name, arch): made.of_binary(name, arch) for name, arch in wanted.made},
        **{(WEB_VIEW, arch): made.of_web_view(arch) for arch in wanted.web_view},
    }
    pins.confirm([made.pin_of_web_view(arch, addresses_of[WEB_VIEW, arch]) for arch in wanted.web_view])
    archs = sorted({each.arch for each in needs})
    requested = {(name, each.arch) for each in needs for name in each.binaries}
    own = [(arch, address, each.pinned) for each in archives for arch, address in _own(store, each.path, archs)]
    digests = {binaries[key].sha256 for key in requested}
    objects = {*digests, *addresses_of.values(), *(address for _, address, _ in own)}
    packed = functools.cache(functools.partial(_pack, store, objects))
    return Supply(
        source=chosen,
        binaries={key: _artifact(store, binaries[key], packed) for key in requested},
        images={key: _image(store, key[0], archive, packed) for key, archive in addresses_of.items()},
        own={
            arch: tuple(
                replace(_image(store, f"own-{address[:16]}", address, packed), pinned=pinned)
                for of, address, pinned in own
                if of == arch
            )
            for arch in archs
        },
    )


def decide_source(
    *, kubernetes_version: str, source: str, mirror: str | None, pins: Pins, cache: Path | None = None
) -> str:
    """Return `source` itself, or for `auto` the source in the lock file.

    The first time, `auto` is upstream if it answers, else source; `pins` gets this choice, and the caller saves it.
    """
    if source not in SOURCES:
        raise ArtifactError(f"artifact_source: is not a source ({source!r}); use one of {', '.join(SOURCES)}")
    if source == "mirror" and not mirror:
        raise ArtifactError("artifact_mirror: is not set (artifact_source is 'mirror'); name a folder or URL")
    if source != "auto":
        return source
    if pinned := pins.source:
        return pinned
    reachable = Publisher(Cache(cache or default_location()), None).answers(release(kubernetes_version))
    decided = "upstream" if reachable else "source"
    pins.decide(decided)
    say(f"artifacts come from {decided} (artifact_source is 'auto')")
    return decided


def _catalogue(kubernetes_version: str, versions: Mapping[str, str], needs: Sequence[Needs]) -> Release:
    if why := unfit("kubernetes", kubernetes_version):
        problem, remedy = why
        raise ArtifactError(f"kubernetes_version: {problem} ({kubernetes_version}); {remedy}")
    catalogue = release(kubernetes_version, versions)
    binaries = {binary.name for component in catalogue.components for binary in component.binaries}
    known = {image.name for image in catalogue.images} | {WEB_VIEW}
    faults = [
        *(f"architecture: is not supported ({each.arch}); use one of {', '.join(ARCHITECTURES)}"
          for each in needs if each.arch not in ARCHITECTURES),
        *(f"binary {name}: is not in the catalogue; known are {', '.join(sorted(binaries))}"
          for each in needs for name in sorted(each.binaries - binaries)),
        *(f"image {name}: is not in the catalogue; known are {', '.join(sorted(known))}"
          for each in needs for name in sorted(each.images - known)),
    ]  # fmt: skip
    if faults:
        raise ArtifactError(*faults)
    return catalogue


@dataclass(frozen=True)
class _Wanted:
    """The needs by the kind of supply; `binaries` includes the binaries in images."""

    binaries: frozenset[tuple[str, str]]
    made: frozenset[tuple[str, str]]
    pulled: frozenset[tuple[str, str, str]]
    web_view: frozenset[str]


def _wanted(catalogue: Release, needs: Sequence[Needs], source: str) -> _Wanted:
    made, pulled = set(), set()
    for name, arch in sorted((name, each.arch) for each in needs for name in each.images - {WEB_VIEW}):
        image = catalogue.image(name)
        if isinstance(image, BinaryImage) and (source == "source" or catalogue.component_of(name).published):
            made.add((name, arch))
        else:
            pulled.add((name, image.upstream, arch))
    return _Wanted(
        binaries=frozenset(made | {(name, each.arch) for each in needs for name in each.binaries}),
        made=frozenset(made),
        pulled=frozenset(pulled),
        web_view=frozenset(each.arch for each in needs if WEB_VIEW in each.images),
    )


def _binaries(origin: Origin, catalogue: Release, wanted: frozenset[tuple[str, str]]) -> dict[tuple[str, str], Pin]:
    by_component: dict[tuple[Component, str], list[Binary]] = {}
    for name, arch in sorted(wanted):
        by_component.setdefault((catalogue.component_of(name), arch), []).append(catalogue.binary(name))
    origin.prepare(by_component)
    return {
        (name, arch): pin
        for (component, arch), binaries in by_component.items()
        for name, pin in _got(origin, component, arch, binaries).items()
    }


def _got(origin: Origin, component: Component, arch: str, binaries: Sequence[Binary]) -> dict[str, Pin]:
    try:
        return origin.get(component, arch, binaries)
    except ArtifactError as error:
        published = available(component) if origin.of_all_versions else ()
        if not published or component.version in published:
            raise
        remedy = f"take one of {', '.join(published)}"
        raise ArtifactError(f"{component.name}: has no version {component.version}; {remedy}") from error


class _Images:
    """Images that this computer makes, kept in the cache by their inputs."""

    def __init__(self, cache: Cache, catalogue: Release, binaries: Mapping[tuple[str, str], Pin]) -> None:
        self._cache = cache
        self._catalogue = catalogue
        self._binaries = binaries
        self._writer = digest(Path(images.__file__))

    def of_binary(self, name: str, arch: str) -> str:
        """Return the address of the archive with one binary."""
        image = self._catalogue.image(name)
        assert isinstance(image, BinaryImage)
        binary = self._binaries[name, arch]
        reference = f"{LOCAL_REGISTRY}/{name}:{binary.version}"
        key = f"image {reference} {arch} {binary.sha256} {image.user} {self._writer}"
        with self._cache.lock(key), self._cache.work() as folder:
            if known := self._cache.recall(key):
                return known
            archive = folder / "image.tar"
            images.write_binary_image(
                archive,
                self._cache.object(binary.sha256),
                name=name,
                reference=reference,
                arch=arch,
                user=image.user,
            )
            return self._cache.keep(key, archive)

    def of_web_view(self, arch: str) -> str:
        """Return the address of the archive with kube-web-view on its Debian base."""
        reference = f"{LOCAL_REGISTRY}/{WEB_VIEW}:{web_view.VERSION}"
        key = f"image {reference} {arch} {self._recipe_of_web_view(arch)}"
        with self._cache.lock(key), self._cache.work() as folder:
            if known := self._cache.recall(key):
                return known
            root, archive = folder / "root", folder / "image.tar"
            root.mkdir()
            with counting(f"making the image of {WEB_VIEW} for {arch}", None):
                web_view.root_filesystem(arch, root)
                launch = images.Launch(tuple(web_view.ENTRYPOINT), web_view.USER)
                images.write_folder_image(archive, root, reference=reference, arch=arch, launch=launch)
            return self._cache.keep(key, archive)

    def pin_of_web_view(self, arch: str, address: str) -> Pin:
        """Return the image's pin; its recipe does not say which packages Debian has on the day of the build."""
        return Pin(WEB_VIEW, web_view.VERSION, arch, "debian", self._recipe_of_web_view(arch), address)

    def _recipe_of_web_view(self, arch: str) -> str:
        return f"{web_view.key(arch)} {self._writer}"


def _own(cache: Cache, path: Path, archs: Sequence[str]) -> list[tuple[str, str]]:
    """Return the architecture and address of each image in a user's archive, rewritten in Kubekeel's format."""
    try:
        seen = path.stat()
        made_by = (digest(Path(own_images.__file__)), digest(Path(images.__file__)))
        key = " ".join(map(str, ("own", path, seen.st_size, seen.st_mtime_ns, *archs, *made_by)))
        with cache.lock(key), cache.work() as folder:
            if (known := cache.recall(key)) and (found := _recalled(cache, key, cache.object(known))):
                return found
            written = list(own_images.write_each(path, folder, archs))
            if not written:
                raise ValueError(f"it has no image for {', '.join(archs)}")
            found = [(arch, cache.keep(f"{key} {number}", file)) for number, (arch, file) in enumerate(written)]
            table = folder / "table"
            table.write_text("".join(f"{arch}\n" for arch, _ in found))
            cache.keep(key, table)
            return found
    except (OSError, ValueError, tarfile.TarError) as error:
        raise ArtifactError(
            f"{path}: cannot be used ({error}); name an archive that `docker save` or `skopeo copy` wrote"
        ) from error


def _recalled(cache: Cache, key: str, table: Path) -> list[tuple[str, str]]:
    """Return an archive's images from the cache; empty if the cache has lost any image."""
    found = [(arch, cache.recall(f"{key} {number}")) for number, arch in enumerate(table.read_text().split())]
    return [(arch, address) for arch, address in found if address] if all(address for _, address in found) else []


_PackedObjects = Callable[[Packing], Mapping[str, Path]]


def _pack(cache: Cache, addresses: set[str], packing: Packing) -> Mapping[str, Path]:
    """Return each object packed, several at once: packing releases the interpreter lock."""
    ordered = sorted(addresses)
    with (
        counting(f"packing for transfer ({packing.recipe})", len(ordered)) as advance,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        packed = {}
        for address, file in zip(
            ordered, pool.map(functools.partial(cache.packed, packing=packing), ordered), strict=True
        ):
            packed[address] = file
            advance(1)
    return packed


def _artifact(cache: Cache, pin: Pin, packed: _PackedObjects) -> Artifact:
    path = cache.object(pin.sha256)
    return Artifact(pin.name, pin.version, pin.sha256, path, lambda packing: packed(packing)[pin.sha256])


def _image(cache: Cache, name: str, address: str, packed: _PackedObjects) -> Image:
    archive = cache.object(address)
    reference, listed = images.image_of(archive)
    return Image(name, reference, listed, archive, address, lambda packing: packed(packing)[address])
