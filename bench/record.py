"""The steps and costs of a pyinfra run, as `bench.recorder` writes them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CHECKING, TRANSFER, CONFIGURATION, WAITING = KINDS = ("checking", "transfer", "configuration", "waiting")
"""The kinds of work in a run."""


@dataclass(frozen=True)
class Span:
    """A host's time for one kind of work in an operation, in seconds since the run began."""

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
        """Return the step's seconds by kind on its slowest host."""
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
    """A host's costs in a run: remote commands, operations with changes, bytes on the wire in each direction.

    `commands` does not count the `renewals` of the host's lease, one every ten seconds.
    """

    commands: int
    renewals: int
    changes: int
    sent: int
    received: int


@dataclass(frozen=True)
class Record:
    """A run: `seconds` are from its start to its end, and `memory` is its peak in bytes.

    `cpu` are the seconds of processor time of the run and its children.
    """

    seconds: float
    cpu: float
    memory: int
    hosts: Mapping[str, HostCost]
    steps: Sequence[Step]

    def split(self) -> dict[str, float]:
        """Return the run's seconds by kind; time outside of operations counts as checking."""
        seconds = dict.fromkeys(KINDS, 0.0)
        for step in self.steps:
            for kind, spent in step.split().items():
                seconds[kind] += spent
        seconds[CHECKING] += self.seconds - sum(seconds.values())
        return seconds

    def longest(self, number: int) -> dict[str, float]:
        """Return the seconds of the longest operations by name, the longest first; those of one name count together."""
        seconds: dict[str, float] = defaultdict(float)
        for step in self.steps:
            seconds[step.name] += step.end - step.begin
        return dict(sorted(seconds.items(), key=lambda item: item[1], reverse=True)[:number])

    @property
    def changes(self) -> int:
        return sum(cost.changes for cost in self.hosts.values())

    @property
    def most_commands(self) -> int:
        return max(cost.commands for cost in self.hosts.values())

    @property
    def most_sent(self) -> int:
        return max(cost.sent for cost in self.hosts.values())

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, file: Path) -> Record:
        saved = json.loads(file.read_text())
        steps = [Step(**{**step, "spans": tuple(Span(**span) for span in step["spans"])}) for step in saved["steps"]]
        hosts = {name: HostCost(**cost) for name, cost in saved["hosts"].items()}
        return cls(saved["seconds"], saved["cpu"], saved["memory"], hosts, steps)
