"""Where the bytes of binaries and images come from: upstream, a mirror, or Go modules built here."""

from kubekeel.artifacts.cache import Cache, default_location
from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.pins import Pins
from kubekeel.artifacts.supply import SOURCES, Archive, Artifact, Image, Needs, Supply, decide_source, supply

__all__ = [
    "SOURCES",
    "Archive",
    "Artifact",
    "ArtifactError",
    "Cache",
    "Image",
    "Needs",
    "Pins",
    "Supply",
    "decide_source",
    "default_location",
    "supply",
]
