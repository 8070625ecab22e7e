"""A host with set facts, and the commands that an operation gives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from operations.converge import UnitSeen

STARTED = 200.0
RUNNING = UnitSeen(active=True, started=STARTED, ready=True)


@dataclass
class Host:
    """A host that answers every fact with `seen`."""

    seen: object
    name: str = "minion1"
    print_prefix: str = "[minion1] "
    noops: list[str] = field(default_factory=list)
    connector_data: dict[str, object] = field(default_factory=dict)

    def get_fact(self, _fact: type, **_arguments: object) -> object:
        return self.seen

    def noop(self, why: str) -> None:
        self.noops.append(why)


Commands = Callable[..., list[str]]
