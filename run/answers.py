"""The output of commands on hosts, without the lines of the login shell, in one language, with the same umask."""

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
# bash reads ~/.bashrc for each command that sshd starts, and sudo may print a lecture. Users like etcd must be able to
# enter the folders that a script makes, whichever umask PAM or ~/.bashrc set for root. Scripts read messages of
# programs, which the login's language would change.
_HEAD = f"umask 022\nexport LC_ALL=C\necho '{_MARK}'\necho '{_MARK}' >&2\n"


def keep_to_answers() -> None:
    """Make each command of a deploy print a mark first, and drop the output before it; config.py calls this.

    The commands of `pyinfra exec` and `pyinfra fact` stay unchanged.
    """
    if is_deploy():
        replace_shell_command(_answered)


def _answered(host: Host, command: StringCommand, *arguments: Any, **options: Any) -> tuple[bool, CommandOutput]:
    succeeded, output = run_shell_command(host, StringCommand(_HEAD, command, _separator=""), *arguments, **options)
    return succeeded, CommandOutput(list(_after_marks(output.combined_lines)))


def _after_marks(lines: Iterable[OutputLine]) -> Iterator[OutputLine]:
    """Yield the lines of each buffer after its mark; without a mark all lines, as when sudo refuses."""
    lines = list(lines)
    marked = {line.buffer_name for line in lines if line.line.endswith(_MARK)}
    for line in lines:
        if line.buffer_name not in marked:
            yield line
        elif line.line.endswith(_MARK):
            marked.remove(line.buffer_name)
