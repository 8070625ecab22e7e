"""The binaries and images on a host that its cluster no longer needs: of earlier versions and former roles."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kubekeel.artifacts.supply import LOCAL_REGISTRY
from kubekeel.release import release

# Shims live as long as their pods.
_SHIM = "containerd-shim"


@dataclass(frozen=True)
class Held:
    """A host's own copies: `stored` and `running` are binaries as DIGEST/NAME, `pinned` the references of images."""

    stored: frozenset[str] = frozenset()
    running: frozenset[str] = frozenset()
    pinned: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Replaced:
    """The binaries to remove, as DIGEST/NAME, and the references of images to remove."""

    binaries: tuple[str, ...]
    images: tuple[str, ...]


def replaced(held: Held, binaries: Collection[str], images: Collection[str], kubernetes_version: str) -> Replaced:
    """Return the part of `held` to remove once a host runs only these `binaries` and `images`, named as in Held.

    Shims that still have pods stay, and images that are not Kubekeel's.
    """
    shims = {binary for binary in held.running if binary.rpartition("/")[2].startswith(_SHIM)}
    ours = tuple(f"{each.upstream.rpartition(':')[0]}:" for each in release(kubernetes_version).images if each.upstream)
    return Replaced(
        binaries=tuple(sorted(held.stored - {*binaries} - shims)),
        images=tuple(
            sorted(each for each in held.pinned - {*images} if each.startswith((f"{LOCAL_REGISTRY}/", *ours)))
        ),
    )
