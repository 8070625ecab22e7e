"""The hosts that a restart still has to reach."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kubekeel.restart import Marks, Restart, left

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
BEFORE = (NOW - timedelta(hours=3)).isoformat()
EARLIER = (NOW - timedelta(hours=5)).isoformat()
WANTED = Restart("apt-get -y full-upgrade", hosts=("a", "b"))
NONE, PENDING, DONE = Marks(), Marks(pending=WANTED.mark(BEFORE)), Marks(done=WANTED.mark(BEFORE))


def pending(restart: Restart, moment: datetime = NOW) -> Marks:
    return Marks(pending=restart.mark(moment.isoformat()))


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ({"a": DONE, "b": PENDING}, {"b"}),
        ({"a": PENDING, "b": PENDING}, {"a", "b"}),
        # The mark of one could not be written, or the run ended before.
        ({"a": NONE, "b": PENDING}, {"a", "b"}),
        ({"a": DONE, "b": NONE}, {"b"}),
        # A second round was interrupted before it had marked all hosts.
        ({"a": replace(PENDING, done=WANTED.mark(EARLIER)), "b": Marks(done=WANTED.mark(EARLIER))}, {"a", "b"}),
    ],
)
def test_an_interrupted_restart_continues_with_the_hosts_that_are_not_done(
    marks: dict[str, Marks], expected: set[str]
) -> None:
    assert left(WANTED, marks, NOW) == (BEFORE, expected)


@pytest.mark.parametrize(
    "marks",
    [
        {"a": NONE, "b": NONE},
        {"a": DONE, "b": DONE},
        # Another request, other hosts, a restart of last month, and what an earlier version wrote.
        {"a": NONE, "b": pending(replace(WANTED, command=""))},
        {"a": NONE, "b": pending(replace(WANTED, hosts=("b",)))},
        {"a": NONE, "b": pending(WANTED, NOW - timedelta(days=30))},
        {"a": NONE, "b": Marks('{"command": "apt-get -y full-upgrade", "reboot": "always"}')},
        {"a": NONE, "b": Marks("damaged", "damaged")},
    ],
)
def test_another_restart_begins_with_all_hosts(marks: dict[str, Marks]) -> None:
    assert left(WANTED, marks, NOW) == (NOW.isoformat(), {"a", "b"})
