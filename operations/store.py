"""Binaries on a host, each in a folder named by its sha256: what is there is never written again."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from kubekeel.artifacts import Artifact, Image
from kubekeel.delivery import Server
from kubekeel.differences import Difference
from kubekeel.render import PROJECT
from kubekeel.replaced import Replaced
from operations.look import differs, see

STORE = "/opt/kubekeel/store"
INCOMING = "/opt/kubekeel/incoming"
_CTR = "/opt/kubekeel/bin/ctr -n k8s.io"
PIN = "io.cri-containerd.pinned=pinned"
_CHUNK = 1 << 18


class Stored(FactBase[set[str]]):
    """The `<sha256>/<name>` a host has."""

    default = set

    def command(self) -> str:
        return f"find -H {STORE} -mindepth 2 -maxdepth 2 -type f -printf '%P\\n' 2>/dev/null; true"

    def process(self, output: Iterable[str]) -> set[str]:
        return set(output)


@operation()
def store(artifacts: Sequence[Artifact], server: Server | None = None) -> Generator[StringCommand, None, None]:
    """Bring the binaries a host lacks, and put each in its place only after its sha256 was checked there.

    With a `server` the host fetches them itself.
    """
    stored = see(host, Stored)
    missing = [artifact for artifact in artifacts if f"{artifact.sha256}/{artifact.name}" not in stored]
    if not missing:
        host.noop("every binary is there")
    else:
        differs(host, [_missing("binaries", missing)])
    for artifact in missing:
        yield _bring(artifact, _place(artifact), server)


def _bring(artifact: Artifact | Image, use: Iterable[str], server: Server | None) -> StringCommand:
    return fetch(artifact, server, use) if server else send(artifact.packed, artifact.packed_name, use)


def _missing(what: str, missing: Iterable[Artifact | Image]) -> Difference:
    return Difference(f"{what} are missing: {', '.join(each.name for each in missing)}")


class Content(list[Any]):
    """A file for the standard input of a command.

    pyinfra encodes and writes what it takes for lines of text: these are the file's bytes, read as they are sent.
    """

    def __init__(self, file: Path) -> None:
        super().__init__([file])

    def __iter__(self) -> Iterator[_Encoded]:
        with self[0].open("rb") as content:
            while chunk := content.read(_CHUNK):
                yield _Encoded(chunk)


@dataclass(frozen=True)
class _Encoded:
    content: bytes

    def endswith(self, _end: str) -> bool:
        return True

    def encode(self) -> bytes:
        return self.content


def send(packed: Path, name: str, use: Iterable[str] = ()) -> StringCommand:
    """Bring a packed file and, if it arrived as it was sent, `use` it; one command, and one file at a time.

    So while one host unpacks, others are sent to.
    """
    unlike = f"{name} did not arrive as it was sent; run again, and suspect the disk or the network"
    lines = (
        "set -eu",
        f"cd {INCOMING}",
        # What fails leaves nothing behind, least of all on a disk that is full.
        f"trap '[ $? = 0 ] || rm -f {name} {name.removesuffix('.gz')}' EXIT",
        # tee hands on what it cannot write.
        f"sum=$({{ tee {name} || rm -f {name}; }} | sha256sum)",
        f"[ -e {name} ] || {_fail(_no_room(name))}",
        # The cache names what it holds by its sha256.
        f"""[ "$sum" = '{packed.name}  -' ] || {_fail(unlike)}""",
        *use,
    )
    return StringCommand("\n".join(lines), _stdin=Content(packed))


_FETCH = (PROJECT / "files/node/fetch.sh").read_text()


def fetch(artifact: Artifact | Image, server: Server, use: Iterable[str] = ()) -> StringCommand:
    """Have the host itself fetch a packed file and, if that is what was packed here, `use` it; one command.

    What it has of an earlier try it keeps, until the whole is there.
    """
    given = {
        "host": host.name,
        "name": artifact.packed_name,
        "url": server.url_of(artifact),
        "sha256": artifact.packed.name,
    }
    lines = ("set -eu", f"cd {INCOMING}", *(f"{name}={shlex.quote(value)}" for name, value in given.items()))
    return StringCommand("\n".join((*lines, _FETCH, *use)), _stdin=server.settings())


def _fail(complaint: str) -> str:
    return f"{{ echo {shlex.quote(f'{host.name}: {complaint}')}; exit 1; }}"


def _no_room(name: str) -> str:
    return f"{INCOMING}/{name} could not be written; make room there (see `df -h {INCOMING}`), then run again"


def _place(artifact: Artifact) -> Iterator[str]:
    name, place = artifact.name, f"{STORE}/{artifact.sha256}"
    yield f"gunzip -f {artifact.packed_name} || {_fail(_no_room(name))}"
    yield f"chmod 0755 {name}"
    yield f"sync {name}"
    yield f"mkdir -p {place}"
    yield f"mv -f {name} {place}/{name}"


# What ctr lists of an image: its reference, type, digest, size in two words, platforms, and labels.
IMAGES = f"{_CTR} images ls 2>/dev/null | awk 'NR > 1 {{print $1, $3, $NF ~ /{PIN}/}}'"


@dataclass(frozen=True)
class ImageSeen:
    """An image as containerd has it; no garbage collection takes one that is `pinned`."""

    digest: str
    pinned: bool


class Imported(FactBase[dict[str, ImageSeen]]):
    """The images containerd holds for Kubernetes, by reference."""

    default = dict

    def command(self) -> str:
        return f"{IMAGES}; true"

    def process(self, output: Iterable[str]) -> dict[str, ImageSeen]:
        return {
            reference: ImageSeen(digest, pinned == "1")
            for reference, digest, pinned in (line.split() for line in output)
        }


def there(images: Iterable[Image]) -> str:
    """A shell condition that holds if containerd has these images, pinned; those that need not be may be gone."""
    lines = [f"{image.reference} {image.digest} 1" for image in images if image.pinned]
    return f"""[ "$({IMAGES} | grep -cxF {" ".join(f"-e {shlex.quote(line)}" for line in lines)})" = {len(lines)} ]"""


@operation()
def import_images(images: Sequence[Image], server: Server | None = None) -> Generator[StringCommand, None, None]:
    """Give containerd the images it lacks, and pin those that are not; with a `server` the host fetches them itself."""
    imported = see(host, Imported)
    lacking = [image for image in images if not _is_there(image, imported)]
    if not lacking:
        host.noop("every image is there")
    else:
        differs(host, [_missing("images", lacking)])
    for image in lacking:
        if imported.get(image.reference) == ImageSeen(image.digest, pinned=False):
            yield StringCommand(_pin(image))
        else:
            yield _bring(image, _import(image), server)


def _is_there(image: Image, imported: Mapping[str, ImageSeen]) -> bool:
    seen = imported.get(image.reference)
    return seen is not None and seen.digest == image.digest and (seen.pinned or not image.pinned)


def _import(image: Image) -> Iterator[str]:
    archive = image.packed_name
    yield f"gunzip -c {archive} | {_CTR} images import --no-unpack - >/dev/null"
    if image.pinned:
        yield _pin(image)
    yield f"rm -f {archive}"


def _pin(image: Image) -> str:
    return f"{_CTR} images label {shlex.quote(image.reference)} {PIN} >/dev/null"


@operation()
def discard(left: Replaced) -> Generator[StringCommand, None, None]:
    """Remove binaries and images that were replaced; a binary that something still runs stays for now."""
    if left == Replaced((), ()):
        host.noop("nothing was replaced")
    if left.binaries:
        lines = (
            f"cd {STORE} && running=$(readlink /proc/[0-9]*/exe | sed 's|.*/store/||')",
            f"for binary in {shlex.join(left.binaries)}; do",
            '  ! echo "$running" | grep -qxF "$binary" || continue',
            '  rm -f "$binary"',
            '  rmdir "${binary%/*}" 2>/dev/null || true',
            "done",
        )
        yield StringCommand("\n".join(lines))
    if left.images:
        yield StringCommand(f"{_CTR} images rm {shlex.join(left.images)} >/dev/null")
