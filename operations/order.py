"""In which order a run takes its operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any

from pyinfra import state


def keep_order_of_lines() -> None:
    """Take operations in the order of the lines they are on, whichever hosts have them; config.py calls this.

    pyinfra itself would take the first operation of every host before the second one of any, so that a host with
    few operations is ahead of those whose work it is to wait for (State.get_op_order).
    """
    state.get_op_order = lambda: in_order(
        [host.op_hash_order for host in state.inventory], lambda operation: state.op_meta[operation].op_order
    )


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
