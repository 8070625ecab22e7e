"""What goes wrong between a catalogue entry and bytes in hand."""

from __future__ import annotations

from collections.abc import Sequence


class ArtifactError(Exception):
    """An artifact cannot be had, or is not the one pinned; one line per fault, each saying what to do."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults: Sequence[str] = faults
