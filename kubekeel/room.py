"""How much room what a run brings takes on a host."""

from __future__ import annotations

from kubekeel.artifacts import Supply
from kubekeel.cluster import Cluster, Node
from kubekeel.needs import needs, registered
from kubekeel.replaced import Held

_MIB = 1 << 20


def arriving(node: Node, cluster: Cluster, supply: Supply, held: Held) -> dict[str, int]:
    """The MiB that binaries and images take which the node needs and does not hold yet, by folder."""
    wanted = needs(node, cluster)
    binaries = [supply.binary(name, wanted.arch) for name in wanted.binaries]
    # Of those that are not pinned it is not known whether they are there.
    own = [each for each in supply.own.get(wanted.arch, ()) if each.pinned and registered(node, cluster)]
    images = [*(supply.image(name, wanted.arch) for name in wanted.images), *own]
    stored = sum(each.path.stat().st_size for each in binaries if f"{each.sha256}/{each.name}" not in held.stored)
    # containerd keeps an image as it came, and unpacked.
    imported = sum(2 * each.archive.stat().st_size for each in images if each.reference not in held.pinned)
    return {"/opt": stored // _MIB, "/var/lib": imported // _MIB}
