"""The artifacts of a host."""

from __future__ import annotations

from kubekeel.artifacts import Artifact, Image, Supply
from kubekeel.cluster import Cluster, Node
from kubekeel.needs import needs


def brought(node: Node, cluster: Cluster, supply: Supply) -> tuple[list[Artifact], list[Image]]:
    """Return the binaries and the images of a host's roles."""
    wanted = needs(node, cluster)
    binaries = [supply.binary(name, wanted.arch) for name in sorted(wanted.binaries)]
    images = [supply.image(name, wanted.arch) for name in sorted(wanted.images)]
    return binaries, images
