"""Declaration and reading of settings: each setting is one field of a dataclass, with the parser of its value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

T = TypeVar("T")

Parse = Callable[[object], T]
"""Takes a value of the inventory and returns the cluster's value; raises Refused."""


@dataclass(frozen=True)
class Fault:
    """A fault of a value and the remedy; inside a larger value, `at` is the place and `seen` the value there."""

    problem: str
    remedy: str
    at: str = ""
    seen: object = ...

    def within(self, at: str, seen: object) -> Fault:
        """Return this fault of the value `seen` at a place in a larger value."""
        return Fault(self.problem, self.remedy, f"{at}{self.at}", seen if self.seen is ... else self.seen)


class Refused(ValueError):
    """The refusal of a value, with its faults."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults


def refused(problem: str, remedy: str) -> Refused:
    """Return the exception that a parser raises, with the problem and the remedy."""
    return Refused(Fault(problem, remedy))


def required(parse: Parse[object], placeholder: object, name: str = "") -> Any:
    """Return a field for a setting that group_data/all.py must have, called `name` there.

    `placeholder` replaces a refused value, so that one pass finds all faults.
    """
    return _field(parse, placeholder, name, MISSING)


def optional(parse: Parse[object], default: object, name: str = "") -> Any:
    """Return a field for an optional setting, called `name` in group_data/all.py."""
    return _field(parse, default, name, default)


def _field(parse: Parse[object], placeholder: object, name: str, default: Any) -> Any:
    metadata = {"parse": parse, "placeholder": placeholder, "name": name}
    if not isinstance(placeholder, dict):
        return field(default=default, metadata=metadata)
    if default is MISSING:
        return field(hash=False, metadata=metadata)
    return field(default_factory=dict, hash=False, metadata=metadata)


def _settings(group: type) -> dict[str, Field[Any]]:
    return {each.metadata["name"] or each.name: each for each in fields(group) if "parse" in each.metadata}


def names(group: type) -> tuple[str, ...]:
    """Return the names of a dataclass' settings."""
    return tuple(_settings(group))


def defaults(group: type) -> dict[str, object]:
    """Return the optional settings of a dataclass, with their defaults."""
    return {name: each.metadata["placeholder"] for name, each in _settings(group).items() if not _is_required(each)}


def _is_required(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def group_of(group: type[T]) -> Parse[T]:
    """Return a parser of a dict whose keys are the settings of a dataclass."""

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
    """A reader of values; it collects faults and returns placeholders, so that one pass finds all faults."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Fault]] = []

    def value(self, subject: str, value: object, parse: Parse[T], placeholder: T) -> T:
        try:
            return parse(value)
        except Refused as refusal:
            self.found += [(subject, fault.within("", value)) for fault in refusal.faults]
            return placeholder

    def values(self, group: type, data: Mapping[str, object], subject: Callable[[str], str] = str) -> dict[str, Any]:
        """Return the fields of a dataclass from the `data` of its settings; `subject` names a setting in faults."""
        read = {}
        for name, each in _settings(group).items():
            parse, placeholder = each.metadata["parse"], each.metadata["placeholder"]
            if name in data:
                read[each.name] = self.value(subject(name), data[name], parse, placeholder)
            else:
                read[each.name] = placeholder
                if _is_required(each):
                    self.found.append((subject(name), Fault("is missing", "set it in group_data/all.py")))
        return read

    @property
    def faults(self) -> list[str]:
        """The faults, one line each."""
        return [line(f"{subject}{fault.at}", fault.problem, fault.seen, fault.remedy) for subject, fault in self.found]


def line(subject: str, problem: str, seen: object, remedy: str) -> str:
    """Return a fault as one line for people."""
    text = str(seen)
    shown = "" if seen is ... else f" ({text if text and text.isprintable() else repr(seen)})"
    return f"{subject}: {problem}{shown}; {remedy}"
