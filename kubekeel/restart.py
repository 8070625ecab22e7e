"""Restarts of hosts: the request, and the hosts that an interrupted run left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

MARK = "/etc/kubekeel/restart.json"
"""The file with the request, on a host that is not restarted yet."""

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

    def mark(self, now: datetime) -> str:
        """Return the content of MARK."""
        return json.dumps({**asdict(self), "marked": now.isoformat()})


def left(restart: Restart, marks: Mapping[str, str], now: datetime) -> set[str]:
    """Return the hosts to restart, from the mark of each host: the ones that an interrupted run left, else all.

    A run continues another one only if it has the same request and the same hosts, and comes within a day.
    """
    return {name for name, mark in marks.items() if _continues(restart, mark, now)} or set(marks)


def _continues(restart: Restart, mark: str, now: datetime) -> bool:
    try:
        content = json.loads(mark)
        marked = datetime.fromisoformat(content.pop("marked"))
    except (ValueError, KeyError, AttributeError):
        return False
    return content == {**asdict(restart), "hosts": [*restart.hosts]} and now - marked < RESUMED_WITHIN
