"""Where the bytes of binaries and images come from: upstream, a mirror, or Go modules built here."""

from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.supply import SOURCES, Artifact, Image, Needs, Supply, decide_source, supply

__all__ = ["SOURCES", "Artifact", "ArtifactError", "Image", "Needs", "Supply", "decide_source", "supply"]
