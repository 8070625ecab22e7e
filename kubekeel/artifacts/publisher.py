"""The sources `upstream` and `mirror`: the publishers' releases, verified by their own checksums."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kubekeel import images
from kubekeel.artifacts import checksums
from kubekeel.artifacts.cache import Cache, digest
from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.pins import Pin
from kubekeel.artifacts.registry import Reference, Registry
from kubekeel.artifacts.transfer import Files
from kubekeel.release import Binary, Component, Release

# A mirror has the publisher's bytes, so both share their pins.
_SOURCE = "upstream"
_RECIPE = "published"


@dataclass(frozen=True)
class Listing:
    """A publisher's file and the file with its checksum, both by URL."""

    url: str
    checksums: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.url).name


def listing(component: Component, arch: str, binary: Binary) -> Listing:
    """Return the publisher's file with a binary; ArtifactError if the binary is not published."""
    if not component.published:
        raise ArtifactError(
            f"{binary.name}: is not published as a binary (component {component.name}); "
            "take its image, or set artifact_source to 'source'"
        )
    names = {
        "version": component.version,
        "bare": component.bare_version,
        "arch": arch,
        "name": binary.name,
    }
    return Listing(component.published.url.format(**names), component.published.checksums.format(**names))


def image_of(component: Component) -> str:
    """Return the reference of the image with the component's binaries; empty if no image has them."""
    return component.image.format(version=component.version)


def archive_url(reference: Reference, arch: str) -> str:
    """Return the place of an image's archive in a mirror, as a URL below the registry."""
    return f"https://{reference.host}/{reference.repository}/{reference.tag}-{arch}.tar"


def fetch_verified(files: Files, listed: Listing, target: Path) -> None:
    """Fetch a file and check it against its publisher's SHA-256; ArtifactError if they differ."""
    sums = target.with_name(f"{target.name}.checksums")
    files.fetch(listed.checksums, sums)
    expected = checksums.find(sums.read_text(errors="replace"), listed.name)
    sums.unlink()
    if not expected:
        raise ArtifactError(f"{listed.checksums}: has no SHA-256 for {listed.name}; use another source")
    files.fetch(listed.url, target)
    if (seen := digest(target)) != expected:
        raise ArtifactError(
            f"{listed.url}: does not match {listed.checksums} (sha256 {seen}, expected {expected}); "
            "the file is damaged or tampered with, do not use it"
        )


class Publisher:
    """A source of released binaries and images: the publishers themselves, or a mirror."""

    def __init__(self, cache: Cache, mirror: str | None) -> None:
        self._cache = cache
        self._mirror = mirror
        self._files = Files(mirror)
        self.of_all_versions = mirror is None

    def answers(self, catalogue: Release) -> bool:
        """Return whether this computer reaches the publishers' sites."""
        samples = ((catalogue.component_of(name), catalogue.binary(name)) for name in ("kubelet", "etcd"))
        return all(self._files.answers(listing(each, "amd64", binary).checksums) for each, binary in samples)

    def prepare(self, wanted: Mapping[tuple[Component, str], Sequence[Binary]]) -> None:
        """Raise ArtifactError with all binaries that are not published."""
        faults: list[str] = []
        for (component, arch), binaries in wanted.items():
            for binary in () if component.image else binaries:
                try:
                    listing(component, arch, binary)
                except ArtifactError as error:
                    faults += error.faults
        if faults:
            raise ArtifactError(*faults)

    def get(self, component: Component, arch: str, binaries: Sequence[Binary]) -> dict[str, Pin]:
        """Return the binaries of one component by name, fetched if the cache does not have them."""
        if component.image:
            addresses = {binary.name: self._of_image(component, arch, binary) for binary in binaries}
        else:
            addresses = self._of_files(component, arch, binaries)
        return {
            name: Pin(name, component.version, arch, _SOURCE, _RECIPE, address) for name, address in addresses.items()
        }

    def _of_files(self, component: Component, arch: str, binaries: Sequence[Binary]) -> dict[str, str]:
        by_file: dict[Listing, list[Binary]] = {}
        for binary in binaries:
            by_file.setdefault(listing(component, arch, binary), []).append(binary)
        return {
            name: address
            for listed, members in by_file.items()
            for name, address in self._unpacked(component, arch, listed, members).items()
        }

    def _of_image(self, component: Component, arch: str, binary: Binary) -> str:
        """Return the address of a binary that its publisher releases only in an image."""
        upstream = image_of(component)
        _, archive = self.image(component.name, upstream, arch)
        key = f"published {archive} {binary.member}"
        with self._cache.lock(key), self._cache.work() as folder:
            if known := self._cache.recall(key):
                return known
            file = folder / binary.name
            try:
                images.extract(self._cache.object(archive), binary.member, file)
            except (ValueError, tarfile.TarError) as error:
                raise ArtifactError(
                    f"{upstream}: does not contain {binary.member} ({error}); the catalogue does not fit this"
                    " image, use another source"
                ) from error
            return self._cache.keep(key, file, mode=0o555)

    def image(self, name: str, upstream: str, arch: str) -> tuple[Pin, str]:
        """Return an image's pin, which is its manifest's digest, and its archive's address."""
        reference = Reference.parse(upstream)
        key = f"image from {self._mirror} {upstream} {arch}"
        with self._cache.lock(key), self._cache.work() as folder:
            address = self._cache.recall(key)
            if not address:
                archive = folder / "image.tar"
                self._fetch_image(reference, arch, archive)
                address = self._cache.keep(key, archive)
        _, manifest = images.image_of(self._cache.object(address))
        pin = Pin(name, reference.tag, arch, _SOURCE, _RECIPE, manifest.removeprefix("sha256:"))
        return pin, address

    def _fetch_image(self, reference: Reference, arch: str, archive: Path) -> None:
        if self._mirror is None:
            Registry(reference.host).pull(reference, arch, archive)
            return
        url = archive_url(reference, arch)
        received = archive.with_name("received.tar")
        fetch_verified(self._files, Listing(url, f"{url}.sha256"), received)
        try:
            images.rewrite_archive(received, archive, reference=str(reference), arch=arch)
        except (ValueError, tarfile.TarError) as error:
            raise ArtifactError(
                f"{url}: is not the image {reference} ({error}); find out why before you use this mirror"
            ) from error

    def _unpacked(self, component: Component, arch: str, listed: Listing, binaries: Sequence[Binary]) -> dict[str, str]:
        members = {binary.name: binary.member.format(version=component.version, arch=arch) for binary in binaries}
        keys = {name: f"published {self._mirror} {listed.url} {member}" for name, member in members.items()}
        with self._cache.lock(f"fetch {listed.url}"), self._cache.work() as folder:
            known = {name: address for name, key in keys.items() if (address := self._cache.recall(key))}
            if len(known) == len(keys):
                return known
            fetched = folder / "fetched"
            fetch_verified(self._files, listed, fetched)
            for name, member in members.items():
                file = _extract(listed.url, fetched, member, folder / name) if member else fetched
                known[name] = self._cache.keep(keys[name], file, mode=0o555)
            return known


def _extract(url: str, archive: Path, member: str, target: Path) -> Path:
    with tarfile.open(archive) as tar:
        for entry in tar:
            if entry.isfile() and str(PurePosixPath(entry.name)) == member:
                content = tar.extractfile(entry)
                assert content is not None
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                return target
    raise ArtifactError(f"{url}: does not contain {member}; the catalogue does not fit this file, use another source")
