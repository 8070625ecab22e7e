"""What a host answers: nothing that its login shell prints belongs to it, and no umask of its own takes part in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.connectors.util import CommandOutput, OutputLine

from run.connection import run_shell_command
from run.insides import replace_shell_command
from run.inventory import is_deploy

_MARK = "kubekeel: the answer begins"
# bash reads ~/.bashrc for each command that sshd starts, and with sudo there may be a lecture. Folders that a script
# makes are to be entered by users like etcd, whatever PAM or ~/.bashrc set for root.
_HEAD = f"umask 022\necho '{_MARK}'\necho '{_MARK}' >&2\n"


def keep_to_answers() -> None:
    """Begin all that a deploy sends with a mark, and drop what is printed before it; config.py calls this.

    What users run by `pyinfra exec` and `pyinfra fact` is sent as it is.
    """
    if is_deploy():
        replace_shell_command(_answered)


def _answered(host: Host, command: StringCommand, *arguments: Any, **options: Any) -> tuple[bool, CommandOutput]:
    succeeded, output = run_shell_command(host, StringCommand(_HEAD, command, _separator=""), *arguments, **options)
    return succeeded, CommandOutput(list(_after_marks(output.combined_lines)))


def _after_marks(lines: Iterable[OutputLine]) -> Iterator[OutputLine]:
    """What each buffer has after its mark; all of it where there is none, as where sudo refuses."""
    lines = list(lines)
    marked = {line.buffer_name for line in lines if line.line.endswith(_MARK)}
    for line in lines:
        if line.buffer_name not in marked:
            yield line
        elif line.line.endswith(_MARK):
            marked.remove(line.buffer_name)
