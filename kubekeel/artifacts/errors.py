"""The error for binaries and images that cannot be supplied."""

from __future__ import annotations

from collections.abc import Sequence


class ArtifactError(Exception):
    """The faults of artifacts that are not available or differ from their pins, one line each, with the remedy."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults: Sequence[str] = faults
