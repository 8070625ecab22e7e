"""The sources of binaries and images: upstream, a mirror, or Go modules built on this computer."""

from kubekeel.artifacts.cache import Cache, default_location
from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.packed import GZIP, PACKINGS, ZSTD, Packed, Packing
from kubekeel.artifacts.pins import Pins
from kubekeel.artifacts.supply import Archive, Artifact, Image, Needs, Supply, decide_source, supply

__all__ = [
    "GZIP",
    "PACKINGS",
    "ZSTD",
    "Archive",
    "Artifact",
    "ArtifactError",
    "Cache",
    "Image",
    "Needs",
    "Packed",
    "Packing",
    "Pins",
    "Supply",
    "decide_source",
    "default_location",
    "supply",
]
