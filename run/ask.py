"""A shell script on a host, outside of pyinfra's facts and operations."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.connectors.util import CommandOutput

from run.connection import loss
from run.insides import connector_arguments

# A slow host needs ten times as long for a look as a fast one. Of unreachable ones keepalives tell sooner.
_PATIENCE = 300


def ask(
    host: Host, script: str, patience: int = _PATIENCE, given: Sequence[str] = (), quiet: bool = False
) -> tuple[bool, CommandOutput]:
    """Whether `script` succeeded, with the rights that facts have, and what it printed.

    It reads `given` on its standard input. With `quiet` no log level shows what it prints. A failure is neither
    logged nor the host's end. Raises OSError, SSHException or EOFError where the host does not answer within
    `patience` seconds, and of these Unreachable where its connection is gone.
    """
    succeeded, output = host.run_shell_command(
        StringCommand(script),
        print_output=host.state.print_fact_output and not quiet,
        print_input=host.state.print_fact_input,
        **{**connector_arguments(host), "_timeout": patience, "_stdin": given},
    )
    if not succeeded and (lost := loss(host)):
        raise lost
    return succeeded, output
