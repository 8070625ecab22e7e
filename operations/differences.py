"""Prints each host's differences before a run changes it: pyinfra itself only counts operations."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel.differences import NEW, Difference, as_lines, of_parts, of_versions
from kubekeel.parts import former
from operations.look import differences
from operations.preflight import seen
from run.choices import DEPLOY
from run.insides import before_changes, changing
from run.inventory import cluster_of, hosts_of, node_of, runs, supply_of


def say_differences() -> None:
    """Make a deploy that lists its changes first print the differences, too; config.py calls this."""
    if runs(DEPLOY):
        before_changes(_say)


def _say(state: State) -> None:
    hosts = (host for host in hosts_of(state) if host.connected)
    for line in as_lines({node_of(host).name: _found(state, host) for host in hosts}):
        logger.info(line)


def _found(state: State, host: Host) -> Sequence[Difference]:
    look, node, cluster = seen(host), node_of(host), cluster_of(state.inventory)
    if look.is_bare:
        return [NEW]
    versions = of_versions(node, cluster, supply_of(state.inventory), look)
    parts = of_parts(former(node, cluster, look.leftovers))
    found = [*versions, *parts, *differences(host)]
    return found or [Difference(f"to be done: {name}") for name in changing(state, host)]
