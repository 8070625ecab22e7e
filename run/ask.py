"""Run a shell script on a host, outside of pyinfra's facts and operations."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.connectors.util import CommandOutput

from run.connection import loss
from run.insides import arguments_of_facts

# A slow host needs ten times as long for a look as a fast one. Keepalives detect an unreachable host sooner.
_PATIENCE = 300


def ask(
    host: Host, script: str, patience: int = _PATIENCE, stdin: Sequence[str] = (), quiet: bool = False
) -> tuple[bool, CommandOutput]:
    """Run `script` with the rights of facts; return whether it succeeded, and its output.

    The script reads the lines of `stdin`. With `quiet` no log level shows its output. A failure is not logged, and the
    host stays in the run. Raises OSError, SSHException or EOFError if the host does not answer within `patience`
    seconds, and Unreachable (an OSError) if its connection is lost.
    """
    arguments = arguments_of_facts(host) | {"_timeout": patience, "_stdin": stdin}
    if quiet:
        arguments["print_output"] = False
    succeeded, output = host.run_shell_command(StringCommand(script), **arguments)
    if not succeeded and (lost := loss(host)):
        raise lost
    return succeeded, output
