"""In which order a run takes its operations and its hosts, and where it stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State

from run.insides import order_operations


def keep_order_of_lines() -> None:
    """Take operations in the order of the lines they are on, whichever hosts have them; config.py calls this.

    pyinfra itself would take the first operation of every host before the second one of any, so that a host with
    few operations is ahead of those whose work it is to wait for (State.get_op_order).
    """
    order_operations(in_order)


def in_order(of_hosts: Iterable[Sequence[str]], line: Callable[[str], Any]) -> list[str]:
    """Each host's operations in their order there and, where that leaves a choice, by their lines."""
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
    """What is wrong with the options that change which host pyinfra takes when."""
    if arguments["no_wait"]:
        yield "--no-wait: hosts would not wait for each other; leave it out"
    if arguments["serial"]:
        yield "--serial: members of etcd must start together, and hosts cannot finish one by one; leave it out"


class OneByOne(BaseStateCallback):
    """Ends the run at the first host that fails of those that an operation takes one by one (`_serial=True`).

    pyinfra itself goes on with the next host, and looks at FAIL_PERCENT after the last one.
    """

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:  # type: ignore[override]  # noqa: ARG002
        """Raise PyinfraError where a host that has this operation, too, has failed before this one's turn."""
        operation = state.get_op_meta(op_hash)
        if not operation.global_arguments["_serial"]:
            return
        having = [each for each in state.inventory if op_hash in state.ops[each]]
        failed = [each.name for each in having if state.get_results_for_host(each).error_ops]
        if failed:
            waiting = [each.name for each in having if not state.ops[each][op_hash].operation_meta.is_complete()]
            name = ", ".join(sorted(operation.names))
            raise PyinfraError(f"{name}: {', '.join(waiting)} not touched, since {', '.join(failed)} failed")
