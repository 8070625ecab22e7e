"""Alternating runs of the deploy and of bare pyinfra, so that a busy computer slows both."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from bench.record import Record


def nothing(deploy: Callable[[], Record], bare: Callable[[], float], rounds: int) -> tuple[Record, float]:
    """Return the deploy with the median time, and the median seconds of `bare`."""
    pairs = [(deploy(), bare()) for _ in range(rounds)]
    records = sorted((record for record, _ in pairs), key=lambda record: record.seconds)
    return records[rounds // 2], median(seconds for _, seconds in pairs)
