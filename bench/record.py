"""What a run of pyinfra did and what it cost, as `bench.recorder` writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CHECKING, TRANSFER, CONFIGURATION, WAITING = KINDS = ("checking", "transfer", "configuration", "waiting")
"""What the time of a run goes to."""


@dataclass(frozen=True)
class Span:
    """A time that a host spent on one kind of work for an operation; moments are in seconds since the run began."""

    host: str
    kind: str
    begin: float
    end: float


@dataclass(frozen=True)
class Step:
    """An operation on all of its hosts."""

    name: str
    begin: float
    end: float
    spans: tuple[Span, ...]

    def split(self) -> dict[str, float]:
        """Its seconds by kind, as the host spent them that the others waited for."""
        seconds = dict.fromkeys(KINDS, 0.0)
        if self.spans:
            last = max(self.spans, key=lambda span: span.end).host
            for span in self.spans:
                if span.host == last:
                    seconds[span.kind] += span.end - span.begin
        seconds[CHECKING] += self.end - self.begin - sum(seconds.values())
        return seconds


@dataclass(frozen=True)
class HostCost:
    """What a run cost a host: remote commands, operations that changed it, bytes on the wire either way.

    `renewals` of the host's lease, one every ten seconds, are not among the commands.
    """

    commands: int
    renewals: int
    changes: int
    sent: int
    received: int


@dataclass(frozen=True)
class Record:
    """A run: `memory` is the most it held at once, in bytes; `seconds` are from its start to its end."""

    seconds: float
    memory: int
    hosts: Mapping[str, HostCost]
    steps: Sequence[Step]

    def split(self) -> dict[str, float]:
        """Its seconds by kind; what is outside of operations is checking."""
        seconds = dict.fromkeys(KINDS, 0.0)
        for step in self.steps:
            for kind, spent in step.split().items():
                seconds[kind] += spent
        seconds[CHECKING] += self.seconds - sum(seconds.values())
        return seconds

    @property
    def changes(self) -> int:
        return sum(cost.changes for cost in self.hosts.values())

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, file: Path) -> Record:
        told = json.loads(file.read_text())
        steps = [Step(**{**step, "spans": tuple(Span(**span) for span in step["spans"])}) for step in told["steps"]]
        hosts = {name: HostCost(**cost) for name, cost in told["hosts"].items()}
        return cls(told["seconds"], told["memory"], hosts, steps)
