"""How settings are declared and read: each is one field of a dataclass, with what its value must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

T = TypeVar("T")

Parse = Callable[[object], T]
"""Takes a value as it was written and gives it as the cluster has it; raises Refused."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a value, what to do, and of a value within another one where and what was seen."""

    problem: str
    remedy: str
    at: str = ""
    seen: object = ...

    def within(self, at: str, seen: object) -> Fault:
        """The same fault of what is `seen` at a place of a larger value."""
        return Fault(self.problem, self.remedy, f"{at}{self.at}", seen if self.seen is ... else self.seen)


class Refused(ValueError):
    """A value that will not do."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults


def refused(problem: str, remedy: str) -> Refused:
    """What a parser raises: what is wrong with its value, and what to do."""
    return Refused(Fault(problem, remedy))


def required(parse: Parse[object], stand_in: object, name: str = "") -> Any:
    """A field for a setting that group_data/all.py must have, called `name` there.

    `stand_in` is its value where the one given is refused, so that all faults are found in one pass.
    """
    return _field(parse, stand_in, name, MISSING)


def optional(parse: Parse[object], default: object, name: str = "") -> Any:
    """A field for a setting that may be left out, called `name` there."""
    return _field(parse, default, name, default)


def _field(parse: Parse[object], stand_in: object, name: str, default: Any) -> Any:
    metadata = {"parse": parse, "stand_in": stand_in, "name": name}
    if not isinstance(stand_in, dict):
        return field(default=default, metadata=metadata)
    if default is MISSING:
        return field(hash=False, metadata=metadata)
    return field(default_factory=dict, hash=False, metadata=metadata)


def _settings(group: type) -> dict[str, Field[Any]]:
    return {each.metadata["name"] or each.name: each for each in fields(group) if "parse" in each.metadata}


def names(group: type) -> tuple[str, ...]:
    """The names of the settings that a dataclass has."""
    return tuple(_settings(group))


def defaults(group: type) -> dict[str, object]:
    """The settings of a dataclass that may be left out, and what they are then."""
    return {name: each.metadata["stand_in"] for name, each in _settings(group).items() if not _is_required(each)}


def _is_required(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def group_of(group: type[T]) -> Parse[T]:
    """A parser of a dict whose keys are the settings of a dataclass."""

    def parse(value: object) -> T:
        known = names(group)
        if not isinstance(value, Mapping):
            raise refused("is not a dict", f"its keys are {', '.join(known)}")
        faults = [
            Fault("is unknown", f"the keys are {', '.join(known)}", f".{key}", each)
            for key, each in value.items()
            if key not in known
        ]
        reader = Reader()
        read = reader.values(group, value)
        faults += [fault.within(f".{subject}", ...) for subject, fault in reader.found]
        if faults:
            raise Refused(*faults)
        return group(**read)

    return parse


class Reader:
    """Reads values; what is wrong is noted and a stand-in given, so that all faults are found in one pass."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Fault]] = []

    def value(self, subject: str, value: object, parse: Parse[T], stand_in: T) -> T:
        try:
            return parse(value)
        except Refused as refusal:
            self.found += [(subject, fault.within("", value)) for fault in refusal.faults]
            return stand_in

    def values(self, group: type, given: Mapping[str, object], subject: Callable[[str], str] = str) -> dict[str, Any]:
        """The fields of a dataclass as its settings are `given`; `subject` names a setting in faults."""
        read = {}
        for name, each in _settings(group).items():
            parse, stand_in = each.metadata["parse"], each.metadata["stand_in"]
            if name in given:
                read[each.name] = self.value(subject(name), given[name], parse, stand_in)
            else:
                read[each.name] = stand_in
                if _is_required(each):
                    self.found.append((subject(name), Fault("is missing", "set it in group_data/all.py")))
        return read

    @property
    def faults(self) -> list[str]:
        """What was wrong, a line each."""
        return [line(f"{subject}{fault.at}", fault.problem, fault.seen, fault.remedy) for subject, fault in self.found]


def line(subject: str, problem: str, seen: object, remedy: str) -> str:
    """A fault as people read it."""
    text = str(seen)
    shown = "" if seen is ... else f" ({text if text and text.isprintable() else repr(seen)})"
    return f"{subject}: {problem}{shown}; {remedy}"
