"""A described host, and the commands that an operation gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from kubekeel.files import Seen
from operations.converge import RoleSeen, UnitSeen

STARTED = 200.0
RUNNING = UnitSeen(active=True, started=STARTED, ready=True)


@dataclass(frozen=True)
class Described:
    """What a look can find: paths, units, and whether each condition holds; a unit's condition holds if it is `ready`.

    `unasked` is what this look finds without a question.
    """

    paths: Mapping[str, Seen] = field(default_factory=dict)
    units: Mapping[str, UnitSeen] = field(default_factory=dict)
    conditions: Mapping[str, bool] = field(default_factory=dict)
    unasked: RoleSeen = field(default_factory=RoleSeen)

    def look(self, paths: Iterable[str], units: Iterable[str], conditions: Mapping[str, str]) -> RoleSeen:
        """Return what was asked for, and nothing else; LookupError for a unit or condition that is not described."""
        known = {**{unit: state.ready for unit, state in self.units.items()}, **self.conditions}
        holds = {name for name in conditions if known[name]}
        return replace(
            self.unasked,
            paths={path: self.paths[path] for path in paths if path in self.paths},
            units={unit: replace(self.units[unit], ready=unit in holds) for unit in units},
            holds=self.unasked.holds | holds,
        )


@dataclass
class Host:
    """A host that has these facts; LookupError for any other one."""

    facts: Mapping[type, object]
    name: str = "minion1"
    noops: list[str] = field(default_factory=list)
    connector_data: dict[str, object] = field(default_factory=dict)
    state: object = None

    @property
    def print_prefix(self) -> str:
        return f"[{self.name}] "

    def get_fact(self, fact: type, **arguments: object) -> object:
        answer = self.facts[fact]
        return answer.look(**arguments) if isinstance(answer, Described) else answer  # type: ignore[arg-type]

    def noop(self, why: str) -> None:
        self.noops.append(why)


Commands = Callable[..., list[str]]
