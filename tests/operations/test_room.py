"""An action clears etcd's alarms only if no present member has other data than the others."""

from __future__ import annotations

import pytest

from operations import members, room
from operations.members import Members
from operations.room import Alarms
from tests.operations.commands import Commands, Host
from tests.unit.members import member

FULL, OTHER, LEFT = ("id-m", "NOSPACE"), ("id-a", "CORRUPT"), ("id-b", "CORRUPT")
PRESENT = (member("m"), member("a"))


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "host", Host({}))


@pytest.mark.parametrize("operation", ["compact", "disarm"])
def test_no_alarm_is_cleared_while_a_present_member_is_corrupt(commands: Commands, operation: str) -> None:
    [refusal] = commands(room, operation, {Alarms: (FULL, OTHER), Members: PRESENT})
    assert "the alarms of etcd are not cleared (CORRUPT: a, https://192.0.2.2:2380); remove that member" in refusal
    assert refusal.endswith("&& exit 1")


@pytest.mark.parametrize("raised", [(FULL,), (FULL, LEFT)])
def test_the_alarm_of_a_member_that_left_is_cleared_with_the_others(
    commands: Commands, raised: tuple[tuple[str, str], ...]
) -> None:
    [*_, compact] = commands(room, "compact", {Alarms: raised, Members: PRESENT})
    assert " compact $revision" in compact
    [disarm] = commands(room, "disarm", {Alarms: raised, Members: PRESENT})
    assert disarm.endswith(" alarm disarm")


def test_without_an_alarm_nothing_is_compacted_or_cleared(commands: Commands) -> None:
    for operation in ("compact", "disarm"):
        assert commands(room, operation, {Alarms: (), Members: PRESENT}) == []
