"""Files that come to a host beside the operations of its run, one after another.

The operation that needs a file waits for it, and ends as if it had brought the file itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import gevent
from gevent import GreenletExit
from gevent.event import AsyncResult
from pyinfra import state
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from run.insides import arguments_of_facts
from run.waits import show_wait

_BESIDE = "kubekeel_beside"


class Begun(StringCommand):
    """A command that runs beside the operations; the operation that executes it only waits for its result."""

    def __init__(self, command: StringCommand) -> None:
        super().__init__(command, **command.connector_arguments)
        self._result = AsyncResult()

    def run(self, host: Host) -> None:
        shown = {"print_output": host.state.print_output, "print_input": host.state.print_input}
        options = {**arguments_of_facts(host), **shown, **self.connector_arguments}
        try:
            self._result.set(host.run_shell_command(self, **options))
        except Exception as error:
            # The operation raises it: without a result it would wait for ever.
            self._result.set_exception(error)

    def execute(self, *_: Any) -> Any:
        return self._result.get()


class _Line:
    """A host's commands: those that wait for their turn, and those that no operation has asked for yet, by name."""

    def __init__(self) -> None:
        self.waiting: deque[Begun] = deque()
        self.unasked: dict[str, Begun] = {}
        self.worker: Any = None

    def run(self, host: Host) -> None:
        while self.waiting:
            self.waiting.popleft().run(host)


def beginning(commands: Mapping[str, StringCommand]) -> FunctionCommand:
    """Return an operation's command that begins these commands by name, after all that its host began before."""
    return FunctionCommand(_begin, (commands,), {})


def _begin(state: State, host: Host, commands: Mapping[str, StringCommand]) -> None:  # noqa: ARG001
    line = host.connector_data.setdefault(_BESIDE, _Line())
    begun = {name: Begun(command) for name, command in commands.items()}
    line.unasked |= begun
    line.waiting.extend(begun.values())
    if not line.worker:
        line.worker = gevent.spawn(line.run, host)


def awaited(host: Host, names: Iterable[str] | None = None) -> Iterator[StringCommand]:
    """Yield the begun commands with these names, or all, except those that an operation has asked for already."""
    # Most hosts have begun nothing, and every operation asks.
    if not (line := host.connector_data.get(_BESIDE)):
        return
    for name in list(line.unasked if names is None else names):
        if command := line.unasked.pop(name, None):
            with show_wait(host, f"{name} to arrive"):
                yield command


def cut_off() -> None:
    """Interrupt every host's present command, and begin no other one."""
    if state.initialised:
        for line in (host.connector_data.get(_BESIDE) for host in state.inventory):
            if line:
                line.worker.kill(block=False)


def finish(host: Host) -> bool:
    """Wait for the end of a host's present command, and begin no other one; return False if it was cut off."""
    if not (line := host.connector_data.get(_BESIDE)):
        return True
    line.waiting.clear()
    line.worker.join()
    return not isinstance(line.worker.value, GreenletExit)
