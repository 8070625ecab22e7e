"""`python -m bench.supplied INVENTORY`: print each host's binaries and images in the cache, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from kubekeel.artifacts import PACKINGS, Packing


@dataclass(frozen=True)
class Binary:
    name: str
    sha256: str


@dataclass(frozen=True)
class Image:
    name: str
    reference: str
    digest: str


@dataclass(frozen=True)
class Load:
    """The binaries and images for a host, and their packed files by the packing's suffix."""

    binaries: tuple[Binary, ...]
    images: tuple[Image, ...]
    packed: dict[str, list[str]]

    def bytes(self, packing: Packing) -> int:
        return sum(Path(file).stat().st_size for file in self.packed[packing.suffix])


def read(text: str) -> dict[str, Load]:
    """Return the loads by host from this module's output."""
    return {
        name: Load(
            tuple(Binary(**each) for each in load["binaries"]),
            tuple(Image(**each) for each in load["images"]),
            load["packed"],
        )
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
            tuple(Binary(each.name, each.sha256) for each in binaries),
            tuple(Image(each.name, each.reference, each.digest) for each in images),
            {way.suffix: [str(each.packed(way).file) for each in (*binaries, *images)] for way in PACKINGS},
        )
    return loads


if __name__ == "__main__":
    print(json.dumps({name: asdict(load) for name, load in _loads(Path(sys.argv[1])).items()}))
