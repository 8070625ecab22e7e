"""A release as a mirror folder, for hosts and control machines without internet."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from kubekeel.artifacts.cache import Cache, digest
from kubekeel.artifacts.pins import Pins
from kubekeel.artifacts.publisher import Listing, Publisher, archive_url, fetch_verified, image_of, listing
from kubekeel.artifacts.registry import Reference
from kubekeel.artifacts.transfer import Files, tree_path
from kubekeel.release import PulledImage, Release

LOCK_FILE = "artifacts.lock"


def bundle(folder: Path, catalogue: Release, architectures: Sequence[str], mirror: str | None = None) -> None:
    """Write all published files of a release into `folder`, and a lock file that pins their contents.

    They come from the publishers, or from another `mirror`. Existing complete files are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as work:
        cache, files = Cache(Path(work)), Files(mirror)
        for listed in _listings(catalogue, architectures):
            _lay_file(cache, files, listed, folder)
        source = Publisher(cache, mirror)
        for upstream in (*_pulled(catalogue), *filter(None, map(image_of, catalogue.components))):
            for arch in architectures:
                _, address = source.image(upstream, upstream, arch)
                _lay_image(cache, address, archive_url(Reference.parse(upstream), arch), folder)
        _prove(cache, folder, catalogue, architectures)


def _listings(catalogue: Release, architectures: Sequence[str]) -> Iterator[Listing]:
    listings = (
        listing(component, arch, binary)
        for component in catalogue.components
        if component.published
        for arch in architectures
        for binary in component.binaries
    )
    yield from dict.fromkeys(listings)


def _pulled(catalogue: Release) -> list[str]:
    return [
        image.upstream
        for image in catalogue.images
        if isinstance(image, PulledImage) or not catalogue.component_of(image.name).published
    ]


def _lay_file(cache: Cache, files: Files, listed: Listing, folder: Path) -> None:
    target, sums = tree_path(folder, listed.url), tree_path(folder, listed.checksums)
    if target.exists() and sums.exists():
        return
    with cache.work() as work:
        part = work / "part"
        fetch_verified(files, listed, part)
        _place(part, target)
        files.fetch(listed.checksums, part)
        _place(part, sums)


def _lay_image(cache: Cache, address: str, url: str, folder: Path) -> None:
    target = tree_path(folder, url)
    with cache.work() as work:
        part = work / "part"
        shutil.copyfile(cache.object(address), part)
        _place(part, target)
        part.write_text(f"{digest(target)}  {target.name}\n")
        _place(part, tree_path(folder, f"{url}.sha256"))


def _place(part: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, target)


def _prove(cache: Cache, folder: Path, catalogue: Release, architectures: Sequence[str]) -> None:
    """Take everything from the new mirror once, and pin it."""
    mirror = Publisher(cache, str(folder))
    pins = [
        pin
        for component in catalogue.components
        if component.published or component.image
        for arch in architectures
        for pin in mirror.get(component, arch, component.binaries).values()
    ]
    names = {image.upstream: image.name for image in catalogue.images if image.upstream}
    pins += [
        mirror.image(names[upstream], upstream, arch)[0] for upstream in _pulled(catalogue) for arch in architectures
    ]
    lock = Pins(folder / LOCK_FILE)
    lock.confirm(pins)
    lock.save(cache)
