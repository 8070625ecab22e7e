"""One look per host for the facts of all its operations, valid until the run's first change on any host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gevent.pool import Group
from paramiko import SSHException
from pyinfra.api import FactBase
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State

from kubekeel.differences import Difference
from run.ask import ask
from run.insides import facts_from, has_changed, independent, prepared
from run.inventory import is_deploy

_KNOWN = "kubekeel_known"
_WANTED = "kubekeel_wanted"
_DIFFERENCES = "kubekeel_differences"
_MARK = "kubekeel: the next look"
_PATIENCE = 600
"""Seconds; the parts of the look have limits of their own."""


def see(host: Host, fact: type[FactBase[Any]], **arguments: Any) -> Any:
    """Return a fact of the host; operations that begin with this call share one command for all their facts."""
    if (wanted := host.connector_data.get(_WANTED)) is not None:
        wanted.append(_Question(fact, arguments))
        raise _Recorded
    known: Mapping[str, Any] = host.connector_data.get(_KNOWN, {})
    command = _command(fact, arguments)
    # In a serial operation, the hosts before this one may already have changed.
    if command in known and not _changed(host.state, prepared(host)):
        return known[command]
    return host.get_fact(fact, **arguments)


def differs(host: Host, found: Iterable[Difference]) -> None:
    """Record a host's differences, so that a run can print them before it changes anything.

    Call this before an operation's first command: pyinfra stops there while it only looks for changes.
    """
    host.connector_data.setdefault(_DIFFERENCES, {}).update(dict.fromkeys(found))


def differences(host: Host) -> list[Difference]:
    """Return the recorded differences of a host, each once."""
    return list(host.connector_data.get(_DIFFERENCES, ()))


class Joint(FactBase[Any]):
    """A fact of which one command can answer several questions."""

    @staticmethod
    def join(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the arguments of a question that contains both; None if no question can."""
        raise NotImplementedError

    @staticmethod
    def part(answer: Any, arguments: Mapping[str, Any]) -> Any:
        """Return what the question with these arguments asks for, from the answer to a question that contains it."""
        raise NotImplementedError


class OneLook(BaseStateCallback):
    """Queries each host once, before a deploy's first operation, and drops the answers after the first change."""

    def __init__(self) -> None:
        self._begun = False

    def operation_start(self, state: State, op_hash: str) -> None:  # type: ignore[override]  # noqa: ARG002
        if not self._begun and is_deploy():
            Group().map(_look, state.inventory.get_active_hosts())
        self._begun = True

    def operation_end(self, state: State, op_hash: str) -> None:  # type: ignore[override]
        if _changed(state, op_hash):
            for host in state.inventory:
                host.connector_data.pop(_KNOWN, None)


def _changed(state: State, operation: str | None) -> bool:
    return any(has_changed(state, host, operation) for host in state.inventory)


@dataclass(frozen=True, eq=False)
class _Question:
    fact: type[FactBase[Any]]
    arguments: Mapping[str, Any]

    @cached_property
    def command(self) -> str:
        return _command(self.fact, self.arguments)

    def and_also(self, other: _Question) -> _Question | None:
        """Return the question that contains both, if one can."""
        if self.fact is not other.fact or not issubclass(self.fact, Joint):
            return None
        arguments = self.fact.join(self.arguments, other.arguments)
        return _Question(self.fact, arguments) if arguments is not None else None

    def of(self, answer: Any) -> Any:
        """Return this question's part of the answer to a joint question."""
        assert issubclass(self.fact, Joint)
        return self.fact.part(answer, self.arguments)


class _Recorded(Exception):
    """Ends an operation that was started only to record its question."""


def _command(fact: type[FactBase[Any]], arguments: Mapping[str, Any]) -> str:
    return str(fact().command(**arguments))


def _look(host: Host) -> None:
    """Store the answers of a host; without answers, each operation queries the host, and reports the failure."""
    asked = _joined(_questions(host))
    if not asked:
        return
    script = "\n".join(f"echo '{_MARK}'\n(\n{question.command}\n)" for question in asked)
    with suppress(OSError, SSHException, EOFError):
        _, output = ask(host, script, _PATIENCE)
        answers = "\n".join(output.stdout_lines).split(f"{_MARK}\n")[1:]
        if len(answers) == len(asked):
            known: dict[str, Any] = {}
            for (question, parts), text in zip(asked.items(), answers, strict=True):
                answer = _answer(question, text)
                known |= {part.command: part.of(answer) if len(parts) > 1 else answer for part in parts}
            host.connector_data[_KNOWN] = known


def _answer(question: _Question, answer: str) -> Any:
    fact = question.fact()
    lines = answer.splitlines()
    return fact.process(lines) if lines else fact.default()


def _joined(questions: Iterable[_Question]) -> dict[_Question, list[_Question]]:
    """Return the questions to ask, each with the ones that its answer answers."""
    joined: dict[_Question, list[_Question]] = {}
    for question in questions:
        for before in joined:
            if both := before.and_also(question):
                joined[both] = [*joined.pop(before), question]
                break
        else:
            joined[question] = [question]
    return joined


def _questions(host: Host) -> list[_Question]:
    """Return the first questions of a host's operations, each once."""
    with _recording(host) as wanted:
        # An operation that depends on another one asks its question in its turn.
        for begin in independent(host):
            with suppress(_Recorded):
                next(begin(), None)
    return list({question.command: question for question in wanted}.values())


@contextmanager
def _recording(host: Host) -> Iterator[Sequence[_Question]]:
    wanted: list[_Question] = []

    def ask_nothing(*_: object, **__: object) -> None:
        raise _Recorded

    host.connector_data[_WANTED] = wanted
    try:
        with facts_from(host, ask_nothing):
            yield wanted
    finally:
        del host.connector_data[_WANTED]
