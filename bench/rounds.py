"""Alternating runs of the deploy and of bare pyinfra, so that a busy computer slows both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench.record import Record


@dataclass(frozen=True)
class Rounds:
    """The deploy with the median time, the median seconds of bare pyinfra, and the most changes of any deploy."""

    deploy: Record
    bare: float
    changes: int


def nothing_to_do(deploy: Callable[[], Record], bare: Callable[[], float], rounds: int) -> Rounds:
    """Run both in turn; `bare` returns its seconds."""
    pairs = [(deploy(), bare()) for _ in range(rounds)]
    records = sorted((record for record, _ in pairs), key=lambda record: record.seconds)
    return Rounds(
        deploy=records[rounds // 2],
        bare=median(seconds for _, seconds in pairs),
        changes=max(record.changes for record in records),
    )
