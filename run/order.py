"""The order of a run's operations and hosts, and where the run stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State

from run.insides import has_done, has_failed, is_serial, names, order_operations, takes_part


def keep_order_of_lines() -> None:
    """Run operations in the order of their lines, whichever hosts have them; config.py calls this.

    pyinfra itself runs the first operation of every host before the second operation of any host. A host with few
    operations would then be ahead of the hosts that it must wait for (State.get_op_order).
    """
    order_operations(in_order)


def in_order(of_hosts: Iterable[Sequence[str]], line: Callable[[str], Any]) -> list[str]:
    """Return all operations in an order that keeps each host's own; where that leaves a choice, by their lines."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for operations in of_hosts:
        for operation in operations:
            sorter.add(operation)
        for before, after in pairwise(operations):
            sorter.add(after, before)
    sorter.prepare()
    ready: list[tuple[Any, str]] = []
    ordered = []
    while sorter.is_active():
        for operation in sorter.get_ready():
            heappush(ready, (line(operation), operation))
        _, chosen = heappop(ready)
        ordered.append(chosen)
        sorter.done(chosen)
    return ordered


def faults(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield the faults in pyinfra's options that change the order of hosts."""
    if arguments["no_wait"]:
        yield "--no-wait: hosts would not wait for each other; leave it out"
    if arguments["serial"]:
        yield "--serial: members of etcd must start together, and hosts cannot finish one by one; leave it out"


class OneByOne(BaseStateCallback):
    """Ends the run at the first host that fails in an operation that takes hosts one by one (`_serial=True`).

    pyinfra itself goes on with the next host, and checks FAIL_PERCENT after the last one.
    """

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:  # type: ignore[override]  # noqa: ARG002
        """Raise PyinfraError if another host of this operation has failed before this host's turn."""
        if not is_serial(state, op_hash):
            return
        hosts = [each for each in state.inventory if takes_part(state, each, op_hash)]
        failed = [each.name for each in hosts if has_failed(state, each)]
        if failed:
            waiting = [each.name for each in hosts if not has_done(state, each, op_hash)]
            raise PyinfraError(
                f"{names(state, op_hash)}: the run did not change {', '.join(waiting)}, because"
                f" {', '.join(failed)} failed"
            )
