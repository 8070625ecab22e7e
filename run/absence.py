"""Hosts that a run does without because they are away, and the exit status that says so."""

from __future__ import annotations

import sys
from collections.abc import Collection

import click
from pyinfra import state
from pyinfra.api.host import Host
from pyinfra.api.state import State, StateStage

from run.insides import forgive

STATUS = 3
"""The exit status of a run that brought all hosts but those that are away to their description."""
_AWAY = "kubekeel_away"


def do_without(hosts: Collection[Host]) -> None:
    """Go on without these hosts, to which there is no connection."""
    for host in hosts:
        host.connector_data[_AWAY] = True
    forgive(hosts)


def away(state: State) -> list[str]:
    """The names of the hosts that the run does without, in the order of the inventory."""
    return [host.name for host in state.inventory if host.connector_data.get(_AWAY)]


def end_with_status() -> None:
    """Have a run that did without hosts end with `STATUS` where nothing failed; config.py calls this."""
    click.get_current_context().call_on_close(_end)


def _end() -> None:
    if state.initialised and state.current_stage == StateStage.Disconnect and not state.failed_hosts and away(state):
        sys.exit(STATUS)
