"""Waiting on a host until something holds, for as long as it moves there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from paramiko import SSHException
from pyinfra import host, state
from pyinfra.api import StringCommand

from kubekeel.render import PROJECT
from run.ask import ask
from run.waits import show_wait

_SCRIPT = PROJECT / "files/node/wait.sh"
# How many times its patience a wait may take if something moves all the time.
_CEILING = 15
# Until what hangs at the end of a wait, and what explains it, have ended.
_ANSWER_PATIENCE = 300


def until(condition: str, patience: int, complaint: str, explain: str = "true", progress: str = "true") -> str:
    """A shell command that waits until `condition` holds; it fails once nothing has moved for `patience` seconds.

    What moves is any line that `condition` or `progress` print for the first time, numbers in what the condition
    prints aside; `progress` has the filter `plain` for that. The failure says `complaint` and what `explain` prints,
    which finds in `$waited` the seconds waited.
    """
    words = (_SCRIPT.read_text(), "wait", complaint, str(patience), str(_CEILING * patience))
    return shlex.join(("sh", "-c", *words, condition, progress, explain))


def reported(what: str, command: StringCommand) -> Iterator[StringCommand]:
    """`command`; while it runs, the run shows for what and for how long this host waits."""
    with show_wait(host, what):
        yield command


def in_vain(what: str, wait: str, patience: int) -> Sequence[str]:
    """What `until` with this patience says where it fails, and nothing where it does not.

    It is run at once, so that a wait alone is not counted as a change; before the run executes, it is not run at all.
    """
    if not state.is_executing:
        return ["not waited for yet"]
    try:
        with show_wait(host, what):
            succeeded, output = ask(host, wait, _CEILING * patience + _ANSWER_PATIENCE)
    except (OSError, SSHException, EOFError) as error:
        return [f"{host.name}: does not answer ({type(error).__name__} {error})"]
    return () if succeeded else output.output_lines or [f"{host.name}: said nothing"]
