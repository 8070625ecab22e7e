"""Unreachable hosts that a run leaves out, and the exit status that reports them."""

from __future__ import annotations

import sys
from collections.abc import Collection

from pyinfra import state
from pyinfra.api.host import Host
from pyinfra.api.state import State, StateStage

from run.insides import at_end, forget_failures

STATUS = 3
"""The exit status of a run that converged all hosts but the unreachable ones."""
_AWAY = "kubekeel_away"


def do_without(hosts: Collection[Host]) -> None:
    """Go on without these unreachable hosts."""
    for host in hosts:
        host.connector_data[_AWAY] = True
    forget_failures(hosts)


def away(state: State) -> list[str]:
    """Return the names of the hosts that the run left out as unreachable, in inventory order."""
    return [host.name for host in state.inventory if host.connector_data.get(_AWAY)]


def end_with_status() -> None:
    """Make a run that left out unreachable hosts end with `STATUS` if nothing failed; config.py calls this."""
    at_end(_end)


def _end() -> None:
    if state.initialised and state.current_stage == StateStage.Disconnect and not state.failed_hosts and away(state):
        sys.exit(STATUS)
