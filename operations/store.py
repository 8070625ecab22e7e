"""Binaries and images on a host; each binary has a folder named by its sha256, and is never overwritten."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, FunctionCommand, StringCommand, operation

from kubekeel import shell
from kubekeel.artifacts import GZIP, Artifact, Image, Packed, Packing
from kubekeel.delivery import Server
from kubekeel.differences import Difference
from kubekeel.render import BIN
from kubekeel.replaced import Replaced
from operations.look import differs, see
from operations.wait import reported
from run.beside import awaited, beginning

STORE = "/opt/kubekeel/store"
INCOMING = "/opt/kubekeel/incoming"
_CTR = f"{BIN}/ctr -n k8s.io"
PIN = "io.cri-containerd.pinned=pinned"
_CHUNK = 1 << 18


class Stored(FactBase[set[str]]):
    """A host's binaries as `<sha256>/<name>`."""

    default = set

    def command(self) -> str:
        return f"find -H {STORE} -mindepth 2 -maxdepth 2 -type f -printf '%P\\n' 2>/dev/null; true"

    def process(self, output: Iterable[str]) -> set[str]:
        return set(output)


@operation()
def store(
    artifacts: Sequence[Artifact],
    server: Server | None = None,
    packing: Packing = GZIP,
    beside: Collection[str] = (),
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Bring the missing binaries, and move each into its place only after the host has checked its sha256.

    With a `server` the host fetches them itself. Those with names in `beside` arrive beside the later operations, of
    which each waits for the binaries that it links.
    """
    stored = see(host, Stored)
    missing = [artifact for artifact in artifacts if f"{artifact.sha256}/{artifact.name}" not in stored]
    if not missing:
        host.noop("every binary is there")
    else:
        differs(host, [_missing("binaries", missing)])
    commands = {artifact.name: _bring_binary(artifact, packing, server) for artifact in missing}
    yield from (command for name, command in commands.items() if name not in beside)
    if later := {name: command for name, command in commands.items() if name in beside}:
        yield beginning(later)


def _bring_binary(artifact: Artifact, packing: Packing, server: Server | None) -> StringCommand:
    packed = artifact.packed(packing)
    return _bring(packed, _place(artifact, packed), server)


def _bring(packed: Packed, use: Iterable[str], server: Server | None) -> StringCommand:
    return fetch(packed, server, use) if server else send(packed, use)


def _missing(what: str, missing: Iterable[Artifact | Image]) -> Difference:
    return Difference(f"{what} are missing: {', '.join(each.name for each in missing)}")


class Content(list[Any]):
    """A file for the standard input of a command.

    pyinfra encodes and writes the items as lines of text: here they are the file's bytes, read piece by piece.
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


def send(packed: Packed, use: Iterable[str] = ()) -> StringCommand:
    """Return a command that sends a packed file and, if it arrived unchanged, runs `use`; one command for each file.

    So one host can unpack while another one receives.
    """
    name = packed.name
    unlike = f"{name} was damaged on the way; run again, and check the disk and the network"
    lines = (
        "set -eu",
        f"cd {INCOMING}",
        # A failed transfer leaves no file behind, which matters most on a full disk.
        f"trap '[ $? = 0 ] || rm -f {name} {packed.content}' EXIT",
        # tee passes on data that it cannot write.
        f"sum=$({{ tee {name} || rm -f {name}; }} | sha256sum)",
        f"[ -e {name} ] || {_fail(_no_room(name))}",
        # The cache names its files by their sha256.
        f"""[ "$sum" = '{packed.sha256}  -' ] || {_fail(unlike)}""",
        *use,
    )
    return StringCommand("\n".join(lines), _stdin=Content(packed.file))


def fetch(packed: Packed, server: Server, use: Iterable[str] = ()) -> StringCommand:
    """Return a command by which the host fetches a packed file and, if its sha256 is right, runs `use`.

    The host keeps the part from an interrupted try, and continues it.
    """
    script = shell.script(
        "node/fetch.sh",
        host=[host.name],
        name=[packed.name],
        url=[server.url_of(packed)],
        sha256=[packed.sha256],
    )
    lines = ("set -eu", f"cd {INCOMING}", script, *use)
    return StringCommand("\n".join(lines), _stdin=server.settings())


def _fail(complaint: str) -> str:
    return f"{{ echo {shlex.quote(f'{host.name}: {complaint}')}; exit 1; }}"


def _no_room(name: str) -> str:
    return f"{INCOMING}/{name} could not be written; make room there (see `df -h {INCOMING}`), then run again"


def _place(artifact: Artifact, packed: Packed) -> Iterator[str]:
    name, place = artifact.name, f"{STORE}/{artifact.sha256}"
    yield f"{packed.unpack} >{name} || {_fail(_no_room(name))}"
    yield f"rm {packed.name}"
    yield f"chmod 0755 {name}"
    yield f"sync {name}"
    yield f"mkdir -p {place}"
    yield f"mv -f {name} {place}/{name}"


# ctr's columns for an image: its reference, type, digest, size in two words, platforms, and labels.
IMAGES = f"{_CTR} images ls 2>/dev/null | awk 'NR > 1 {{print $1, $3, $NF ~ /{PIN}/}}'"


@dataclass(frozen=True)
class ImageSeen:
    """An image as containerd has it; garbage collection never removes a `pinned` one."""

    digest: str
    pinned: bool


class Imported(FactBase[dict[str, ImageSeen]]):
    """containerd's images for Kubernetes, by reference."""

    default = dict

    def command(self) -> str:
        return f"{IMAGES}; true"

    def process(self, output: Iterable[str]) -> dict[str, ImageSeen]:
        return {
            reference: ImageSeen(digest, pinned == "1")
            for reference, digest, pinned in (line.split() for line in output)
        }


def there(images: Iterable[Image]) -> str:
    """Return a shell condition: containerd has these images, pinned; images that need no pin may be missing."""
    lines = [f"{image.reference} {image.digest} 1" for image in images if image.pinned]
    return f"""[ "$({IMAGES} | grep -cxF {" ".join(f"-e {shlex.quote(line)}" for line in lines)})" = {len(lines)} ]"""


@operation()
def import_images(
    images: Sequence[Image], server: Server | None = None, packing: Packing = GZIP, beside: bool = False
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Import missing images into containerd, and pin the unpinned; with a `server` the host fetches them itself.

    With `beside` this only begins, and `wait_for_images` waits for the end.
    """
    imported = see(host, Imported)
    lacking = [image for image in images if not _is_there(image, imported)]
    if not lacking:
        host.noop("every image is there")
    else:
        differs(host, [_missing("images", lacking)])
    commands = {image.reference: _pin_or_bring(image, imported, packing, server) for image in lacking}
    if beside and commands:
        yield beginning(commands)
        return
    for image in lacking:
        yield from reported(f"the image {image.name}", commands[image.reference])


@operation()
def wait_for_images() -> Generator[StringCommand, None, None]:
    """Wait for the images, and all else, that arrive beside the operations."""
    yield from awaited(host)


def _pin_or_bring(
    image: Image, imported: Mapping[str, ImageSeen], packing: Packing, server: Server | None
) -> StringCommand:
    if imported.get(image.reference) == ImageSeen(image.digest, pinned=False):
        return StringCommand(_pin(image))
    packed = image.packed(packing)
    return _bring(packed, _import(image, packed), server)


def _is_there(image: Image, imported: Mapping[str, ImageSeen]) -> bool:
    seen = imported.get(image.reference)
    return seen is not None and seen.digest == image.digest and (seen.pinned or not image.pinned)


def _import(image: Image, packed: Packed) -> Iterator[str]:
    yield f"{packed.unpack} | {_CTR} images import --no-unpack - >/dev/null"
    if image.pinned:
        yield _pin(image)
    yield f"rm -f {packed.name}"


def _pin(image: Image) -> str:
    return f"{_CTR} images label {shlex.quote(image.reference)} {PIN} >/dev/null"


@operation()
def discard(left: Replaced) -> Generator[StringCommand, None, None]:
    """Remove replaced binaries and images; a binary that still runs stays until a later run."""
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
