"""The order of the operations of several hosts."""

from __future__ import annotations

import pytest

from run.order import in_order

LINES = {"check": 1, "drain": 2, "delete": 3, "reset": 4}


@pytest.mark.parametrize(
    "of_hosts",
    [
        [["check", "drain", "delete"], ["reset"]],
        [["reset"], ["check", "drain", "delete"]],
        [["drain", "reset"], ["check", "delete"], []],
    ],
)
def test_a_host_with_few_operations_waits_for_those_with_more(of_hosts: list[list[str]]) -> None:
    assert in_order(of_hosts, LINES.__getitem__) == list(LINES)


def test_the_order_of_a_host_overrides_the_order_of_lines() -> None:
    assert in_order([["reset", "check"], ["drain"]], LINES.__getitem__) == ["drain", "reset", "check"]
