"""What a host still holds of binaries and images that its cluster no longer names: earlier versions, former roles'."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kubekeel.artifacts.supply import LOCAL_REGISTRY
from kubekeel.release import release

# They live as long as the pods that they were started for.
_SHIM = "containerd-shim"


@dataclass(frozen=True)
class Held:
    """What a host holds: `stored` and `running` are binaries as DIGEST/NAME, `pinned` the references of images."""

    stored: frozenset[str] = frozenset()
    running: frozenset[str] = frozenset()
    pinned: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Replaced:
    """What may go: binaries as DIGEST/NAME, and references of images."""

    binaries: tuple[str, ...]
    images: tuple[str, ...]


def replaced(held: Held, binaries: Collection[str], images: Collection[str], kubernetes_version: str) -> Replaced:
    """What of `held` goes once a host runs just these `binaries` and `images`, which are named in the same way.

    Shims that still have pods stay, and so do images that are not Kubekeel's.
    """
    shims = {binary for binary in held.running if binary.rpartition("/")[2].startswith(_SHIM)}
    ours = tuple(f"{each.upstream.rpartition(':')[0]}:" for each in release(kubernetes_version).images if each.upstream)
    return Replaced(
        binaries=tuple(sorted(held.stored - {*binaries} - shims)),
        images=tuple(
            sorted(each for each in held.pinned - {*images} if each.startswith((f"{LOCAL_REGISTRY}/", *ours)))
        ),
    )
