"""The error that binaries and images cannot be supplied."""

from __future__ import annotations

from collections.abc import Sequence


class ArtifactError(Exception):
    """An artifact is not available or differs from its pin; one line per fault, each with what to do."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults: Sequence[str] = faults
