"""Restarts of hosts: the request, and the hosts that an interrupted run left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

MARK = "/etc/kubekeel/restart.json"
"""The file with the request, on a host that is not restarted yet."""

REQUIRED = "/var/run/reboot-required"
"""The file that a distribution's packages create if they need a reboot to take effect."""

REBOOTS = ("always", "needed", "never")


@dataclass(frozen=True)
class Restart:
    """A request for each host while it is drained: a shell command, then a reboot, by one of REBOOTS."""

    command: str = ""
    reboot: str = "always"

    @property
    def mark(self) -> str:
        """The content of MARK."""
        return json.dumps(asdict(self))


def left(restart: Restart, marks: Mapping[str, str]) -> set[str]:
    """Return the hosts to restart, from the mark of each host: the ones that an interrupted run left, else all."""
    return {name for name, mark in marks.items() if mark == restart.mark} or set(marks)
