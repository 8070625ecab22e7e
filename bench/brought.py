"""The artifacts of a host."""

from __future__ import annotations

from kubekeel.artifacts import Artifact, Image
from kubekeel.needs import needs
from kubekeel.render import Target


def brought(target: Target) -> list[Artifact | Image]:
    """Return the binaries and images of a host's roles."""
    wanted = needs(target.node, target.cluster)
    return [
        *(target.supply.binary(name, wanted.arch) for name in sorted(wanted.binaries)),
        *(target.supply.image(name, wanted.arch) for name in sorted(wanted.images)),
    ]
