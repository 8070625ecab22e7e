"""Which hosts a restart is left to do on."""

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
def test_a_run_that_was_cut_goes_on_where_it_was_and_another_one_begins_with_all(
    marks: dict[str, str], expected: set[str]
) -> None:
    assert left(WANTED, marks) == expected
