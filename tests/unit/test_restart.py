"""The hosts that a restart still has to reach."""

from __future__ import annotations

import pytest

from kubekeel.restart import Restart, left

WANTED = Restart("apt-get -y full-upgrade")


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ({"a": "", "b": ""}, {"a", "b"}),
        ({"a": "", "b": WANTED.mark}, {"b"}),
        ({"a": "", "b": Restart().mark}, {"a", "b"}),
        ({"a": WANTED.mark, "b": WANTED.mark}, {"a", "b"}),
    ],
)
def test_an_interrupted_restart_continues_and_another_one_begins_with_all_hosts(
    marks: dict[str, str], expected: set[str]
) -> None:
    assert left(WANTED, marks) == expected
