"""Restarts of hosts: the request, and the hosts that an interrupted run left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

MARK = "/etc/kubekeel/restart.json"
"""The file with the request, on a host that is not restarted yet."""

DONE = "/etc/kubekeel/restarted.json"
"""The same file once the host is restarted."""

REQUIRED = "/var/run/reboot-required"
"""The file that a distribution's packages create if they need a reboot to take effect."""

REBOOTS = ("always", "needed", "never")

RESUMED_WITHIN = timedelta(days=1)
"""The age of a mark up to which the same request continues the interrupted one."""


@dataclass(frozen=True)
class Restart:
    """A request for each of `hosts` while it is drained: a shell command, then a reboot, by one of REBOOTS."""

    command: str = ""
    reboot: str = "always"
    hosts: tuple[str, ...] = ()

    def mark(self, round: str) -> str:
        """Return the content of MARK; `round` is when the first run of the request began, in ISO 8601."""
        return json.dumps({**asdict(self), "round": round})


@dataclass(frozen=True)
class Marks:
    """The content of a host's files MARK and DONE; empty for a missing one."""

    pending: str = ""
    done: str = ""


def left(restart: Restart, marks: Mapping[str, Marks], now: datetime) -> tuple[str, set[str]]:
    """Return the round and the hosts to restart: those that an interrupted run left, else all in a new round.

    A run continues another one only if it has the same request and the same hosts, and comes within a day.
    """
    pending = {name: _round(restart, each.pending, now) for name, each in marks.items()}
    done = {name: _round(restart, each.done, now) for name, each in marks.items()}
    latest = max({*pending.values(), *done.values()})
    # A host without any mark of the round was not reached.
    rest = {name for name, round in done.items() if round != latest}
    if latest and rest:
        return latest, rest
    return now.isoformat(), set(marks)


def _round(restart: Restart, mark: str, now: datetime) -> str:
    """Return the round of a mark; empty if it is of another request, or of an old one."""
    try:
        content = json.loads(mark)
        round = str(content.pop("round"))
        age = now - datetime.fromisoformat(round)
    except (ValueError, KeyError, AttributeError):
        return ""
    return round if content == {**asdict(restart), "hosts": [*restart.hosts]} and age < RESUMED_WITHIN else ""
