"""The disk space that a run's binaries and images take on a host."""

from __future__ import annotations

from kubekeel.artifacts import Supply
from kubekeel.cluster import Cluster, Node
from kubekeel.needs import needs, registered
from kubekeel.replaced import Held

_MIB = 1 << 20


def arriving(node: Node, cluster: Cluster, supply: Supply, held: Held) -> dict[str, int]:
    """Return the disk space for the binaries and images that the node needs and lacks, in MiB by folder."""
    wanted = needs(node, cluster)
    binaries = [supply.binary(name, wanted.arch) for name in wanted.binaries]
    # The node's look does not show images that are not pinned.
    own = [each for each in supply.own.get(wanted.arch, ()) if each.pinned and registered(node, cluster)]
    images = [*(supply.image(name, wanted.arch) for name in wanted.images), *own]
    stored = sum(each.path.stat().st_size for each in binaries if f"{each.sha256}/{each.name}" not in held.stored)
    # containerd keeps an image both packed and unpacked.
    imported = sum(2 * each.archive.stat().st_size for each in images if each.reference not in held.pinned)
    return {"/opt/kubekeel": stored // _MIB, "/var/lib/containerd": imported // _MIB}
