"""`python -m bench.supplied INVENTORY`: print each host's binaries and images in the cache, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Binary:
    name: str
    sha256: str
    packed: str


@dataclass(frozen=True)
class Image:
    name: str
    reference: str
    digest: str
    packed: str


@dataclass(frozen=True)
class Load:
    """The binaries and images for a host."""

    binaries: tuple[Binary, ...]
    images: tuple[Image, ...]

    @property
    def packed(self) -> list[str]:
        """The packed files for the host."""
        return [each.packed for each in (*self.binaries, *self.images)]

    @property
    def bytes(self) -> int:
        return sum(Path(file).stat().st_size for file in self.packed)


def read(text: str) -> dict[str, Load]:
    """Return the loads by host from this module's output."""
    return {
        name: Load(tuple(Binary(**each) for each in load["binaries"]), tuple(Image(**each) for each in load["images"]))
        for name, load in json.loads(text).items()
    }


def _loads(inventory_file: Path) -> Mapping[str, Load]:
    from bench.brought import brought
    from run.inventory import cluster_of, open_inventory, supply_of

    inventory = open_inventory(inventory_file)
    cluster, supply = cluster_of(inventory), supply_of(inventory)
    loads = {}
    for node in cluster.nodes:
        binaries, images = brought(node, cluster, supply)
        loads[node.name] = Load(
            tuple(Binary(each.name, each.sha256, str(each.packed)) for each in binaries),
            tuple(Image(each.name, each.reference, each.digest, str(each.packed)) for each in images),
        )
    return loads


if __name__ == "__main__":
    print(json.dumps({name: asdict(load) for name, load in _loads(Path(sys.argv[1])).items()}))
