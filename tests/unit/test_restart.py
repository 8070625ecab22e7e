"""The hosts that a restart still has to reach."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kubekeel.restart import Restart, left

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
WANTED = Restart("apt-get -y full-upgrade", hosts=("a", "b"))
MARK = WANTED.mark(NOW - timedelta(hours=3))


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ({"a": "", "b": ""}, {"a", "b"}),
        ({"a": "", "b": MARK}, {"b"}),
        ({"a": MARK, "b": MARK}, {"a", "b"}),
        # Another request, other hosts, a restart of last month, and what an earlier version wrote.
        ({"a": "", "b": replace(WANTED, command="").mark(NOW)}, {"a", "b"}),
        ({"a": "", "b": replace(WANTED, hosts=("b",)).mark(NOW)}, {"a", "b"}),
        ({"a": "", "b": WANTED.mark(NOW - timedelta(days=30))}, {"a", "b"}),
        ({"a": "", "b": '{"command": "apt-get -y full-upgrade", "reboot": "always"}'}, {"a", "b"}),
        ({"a": "", "b": "damaged"}, {"a", "b"}),
    ],
)
def test_an_interrupted_restart_continues_and_another_one_begins_with_all_hosts(
    marks: dict[str, str], expected: set[str]
) -> None:
    assert left(WANTED, marks, NOW) == expected
