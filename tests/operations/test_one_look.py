"""One command reads the facts of all operations of a host, and reads them again after a change."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import FactBase
from pyinfra.connectors.util import CommandOutput, OutputLine

from operations import look
from operations.look import Joint, OneLook, see


class Words(FactBase[list[str]]):
    """The output of a script, line by line."""

    default = list

    def command(self, script: str) -> str:
        return script

    def process(self, output: Iterable[str]) -> list[str]:
        return list(output)


class Host:
    """A host whose operations begin with a fact each; `sent` lists the scripts that it got."""

    def __init__(self, *scripts: str, fact: type[FactBase[list[str]]] = Words, **arguments: object) -> None:
        self.fact = fact
        self.connector_data: dict[str, Any] = {}
        self.sent: list[str] = []
        self.seen: list[list[str]] = []
        self.op_hash_order = list(scripts)
        self.operations = {script: self._operation(script, **arguments) for script in scripts}

    def _operation(self, script: str, **arguments: object) -> Any:
        meta = SimpleNamespace(is_complete=lambda: script.startswith("done"), did_change=lambda: True)
        return SimpleNamespace(
            command_generator=self._generator(script),
            global_arguments=arguments,
            operation_meta=meta,
        )

    def _generator(self, script: str) -> Callable[[], Iterator[str]]:
        def generate() -> Iterator[str]:
            self.current_op_hash = script
            self.seen.append(see(self, self.fact, script=script))  # type: ignore[arg-type]
            yield from ()

        return generate

    def get_fact(self, _fact: type, script: str) -> list[str]:
        return self.ask(script).stdout_lines

    def ask(self, script: str) -> CommandOutput:
        self.sent.append(script)
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
        return CommandOutput([OutputLine("stdout", line) for line in done.stdout.splitlines()])

    def run(self) -> None:
        for operation in self.operations.values():
            next(operation.command_generator(), None)


@pytest.fixture(autouse=True)
def _deploying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "is_deploy", lambda: True)
    monkeypatch.setattr(look, "ask", lambda host, script, _patience: (True, host.ask(script)))


def begin(host: Host) -> tuple[OneLook, Any]:
    """Return the callback and the state after the first operation began."""

    class Inventory(list[Host]):
        get_active_hosts = list[Host].copy

    state = SimpleNamespace(inventory=Inventory([host]), ops={host: host.operations})
    host.state = state  # type: ignore[attr-defined]
    one_look = OneLook()
    one_look.operation_start(state, "")  # type: ignore[arg-type]
    return one_look, state


def test_all_operations_of_a_host_share_one_command() -> None:
    host = Host("echo a; echo b", "cd /; exit 3", "one=1; sleep 0 & wait; echo $one")
    one_look, state = begin(host)
    one_look.operation_start(state, "")
    host.run()
    assert host.seen == [["a", "b"], [], ["1"]]
    assert len(host.sent) == 1


class Numbers(Joint):
    """The numbers of a question, one a line; no question has a number twice."""

    default = list

    @staticmethod
    def join(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any] | None:
        numbers = f"{one['script']} {other['script']}".split()
        return {"script": " ".join(numbers)} if len(numbers) == len(set(numbers)) else None

    @staticmethod
    def part(answer: list[str], arguments: Mapping[str, Any]) -> list[str]:
        return [number for number in answer if number in arguments["script"].split()]

    def command(self, script: str) -> str:
        return f"printf '%s\\n' {script}"

    def process(self, output: Iterable[str]) -> list[str]:
        return list(output)


def test_one_command_answers_all_questions_that_do_not_contradict_each_other() -> None:
    host = Host("1", "2 3", "1 4", "5", fact=Numbers)
    begin(host)
    host.run()
    assert host.seen == [["1"], ["2", "3"], ["1", "4"], ["5"]]
    assert [line for sent in host.sent for line in sent.splitlines() if "printf" in line] == [
        "printf '%s\\n' 1 4",
        "printf '%s\\n' 1 2 3 5",
    ]


def test_each_operation_reads_its_own_facts_after_a_change() -> None:
    host = Host("echo a", "done=1; echo b")
    one_look, state = begin(host)
    one_look.operation_end(state, "echo a")
    next(host.operations["echo a"].command_generator(), None)
    assert len(host.sent) == 1
    one_look.operation_end(state, "done=1; echo b")
    host.run()
    assert host.sent[1:] == ["echo a", "done=1; echo b"]


def test_an_operation_with_a_condition_reads_its_facts_when_it_is_due() -> None:
    host = Host("echo a", _if=[lambda: pytest.fail("is not due")])
    begin(host)
    assert host.sent == []
    host.run()
    assert host.seen == [["a"]]


def test_an_operation_that_begins_without_see_is_not_part_of_the_look() -> None:
    host = Host("echo a")

    def otherwise() -> Iterator[str]:
        host.seen.append(host.get_fact(Words, script="echo b"))
        yield from ()

    host.operations["echo a"].command_generator = otherwise
    begin(host)
    assert (host.sent, host.seen) == ([], [])
    host.run()
    assert host.seen == [["b"]]


def test_an_operation_whose_turn_comes_after_a_change_reads_its_facts_again() -> None:
    host = Host("done=1; echo a")
    begin(host)
    host.run()
    assert len(host.sent) == 2


def test_after_a_failed_common_command_each_fact_is_read_alone() -> None:
    host = Host("echo a")
    host.ask, ask = lambda script: CommandOutput([]) if "next look" in script else ask(script), host.ask  # type: ignore[method-assign]
    begin(host)
    next(host.operations["echo a"].command_generator(), None)
    assert host.seen == [["a"]]
