"""Binaries on a host, each in a folder named by its sha256: what is there is never written again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from pyinfra import host
from pyinfra.api import FactBase, FileUploadCommand, StringCommand, operation

from kubekeel.artifacts import Artifact, Image

STORE = "/opt/kubekeel/store"
INCOMING = "/opt/kubekeel/incoming"


class Stored(FactBase[set[str]]):
    """The `<sha256>/<name>` a host has."""

    default = set

    def command(self) -> str:
        return f"find {STORE} -mindepth 2 -maxdepth 2 -type f -printf '%P\\n' 2>/dev/null; true"

    def process(self, output: Iterable[str]) -> set[str]:
        return set(output)


@operation()
def store(artifacts: Sequence[Artifact]) -> Iterator[StringCommand | FileUploadCommand]:
    """Bring the binaries a host lacks, and put each in its place only after its sha256 was checked there."""
    stored = host.get_fact(Stored)
    missing = [artifact for artifact in artifacts if f"{artifact.sha256}/{artifact.name}" not in stored]
    if not missing:
        host.noop("every binary is there")
        return
    for artifact in missing:
        yield FileUploadCommand(str(artifact.packed), f"{INCOMING}/{artifact.name}.gz")
    yield StringCommand("\n".join(["set -eu", f"cd {INCOMING}", *map(_unpack, missing)]))


def checked(sha256: str, file: str) -> str:
    """A shell line that refuses `file`, by name and on this host, if it has another sha256."""
    refusal = f"{host.name}: {file} did not arrive as it was sent; run again, and suspect the disk or the network"
    return (
        f"echo '{sha256}  '{shlex.quote(file)} | sha256sum --check --status"
        f" || {{ rm -f {shlex.quote(file)}; echo {shlex.quote(refusal)}; exit 1; }}"
    )


def _unpack(artifact: Artifact) -> str:
    name, place = artifact.name, f"{STORE}/{artifact.sha256}"
    return "\n".join(
        (
            f"gunzip -f {name}.gz",
            checked(artifact.sha256, name),
            f"chmod 0755 {name}",
            f"sync {name}",
            f"mkdir -p {place}",
            f"mv -f {name} {place}/{name}",
        )
    )


class Imported(FactBase[dict[str, str]]):
    """The images containerd holds for Kubernetes: reference to digest."""

    default = dict

    def command(self) -> str:
        return "/opt/kubekeel/bin/ctr -n k8s.io images ls 2>/dev/null | awk 'NR > 1 {print $1, $3}'; true"

    def process(self, output: Iterable[str]) -> dict[str, str]:
        return dict(line.split() for line in output)


@operation()
def import_images(images: Sequence[Image]) -> Iterator[StringCommand | FileUploadCommand]:
    """Give containerd the images it lacks, pinned, so that no garbage collection takes them."""
    imported = host.get_fact(Imported)
    missing = [image for image in images if imported.get(image.reference) != image.digest]
    if not missing:
        host.noop("every image is there")
        return
    for image in missing:
        yield FileUploadCommand(str(image.packed), f"{INCOMING}/{image.name}.tar.gz")
    yield StringCommand("\n".join(["set -eu", f"cd {INCOMING}", *map(_import, missing)]))


def _import(image: Image) -> str:
    archive, reference = f"{image.name}.tar", shlex.quote(image.reference)
    return "\n".join(
        (
            f"gunzip -f {archive}.gz",
            checked(image.sha256, archive),
            f"/opt/kubekeel/bin/ctr -n k8s.io images import --no-unpack {archive} >/dev/null",
            f"/opt/kubekeel/bin/ctr -n k8s.io images label {reference} io.cri-containerd.pinned=pinned >/dev/null",
            f"rm -f {archive}",
        )
    )
