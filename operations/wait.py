"""Wait on a host until a condition holds, as long as there is progress."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from paramiko import SSHException
from pyinfra import host, state
from pyinfra.api import StringCommand

from kubekeel.service import NO_RESTARTS
from kubekeel.shell import script
from run.ask import ask
from run.waits import show_wait

# The longest wait, in multiples of its patience, if progress never stops.
_CEILING = 15
# Seconds for a hanging condition and the explanation to end after a wait.
_ANSWER_PATIENCE = 300


def until(
    condition: str,
    patience: int,
    complaint: str,
    explain: str = "true",
    progress: str = "true",
    restarts: str = NO_RESTARTS,
) -> str:
    """Return a shell command that waits until `condition` holds; it fails after `patience` seconds without progress.

    Progress is any line that `condition` or `progress` print for the first time. Numbers in the condition's lines do
    not count; `progress` can use the filter `plain` to ignore them, too. The failure prints `complaint` and the output
    of `explain`, which can use `$waited` (seconds). A program that ends again and again fails it early: `restarts`
    prints names of programs, and how often each was restarted.
    """
    words = (script("node/wait.sh"), "wait", complaint, str(patience), str(_CEILING * patience))
    return shlex.join(("sh", "-c", *words, condition, progress, explain, restarts))


def reported(what: str, command: StringCommand) -> Iterator[StringCommand]:
    """Yield `command`; while it runs, the run shows that this host waits for `what`, and how long."""
    with show_wait(host, what):
        yield command


def failed_wait(what: str, wait: str, patience: int) -> Sequence[str]:
    """Run a command of `until` with this patience at once; return its output if it fails, or nothing.

    So a mere wait does not count as a change. Before the run executes, the command does not run.
    """
    if not state.is_executing:
        return ["not waited for yet"]
    try:
        with show_wait(host, what):
            succeeded, output = ask(host, wait, _CEILING * patience + _ANSWER_PATIENCE)
    except (OSError, SSHException, EOFError) as error:
        return [f"{host.name}: does not answer ({type(error).__name__} {error})"]
    return () if succeeded else output.output_lines or [f"{host.name}: gave no output"]
