"""Hosts to restart: what is asked of each, and which of them are left when a run was cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

MARK = "/etc/kubekeel/restart.json"
"""On a host that is still to be restarted: what was asked."""

REQUIRED = "/var/run/reboot-required"
"""What a distribution's packages leave where they take effect with the next boot only."""

REBOOTS = ("always", "needed", "never")


@dataclass(frozen=True)
class Restart:
    """What happens on each host while it is drained: a shell command, then a reboot, by one of REBOOTS."""

    command: str = ""
    reboot: str = "always"

    @property
    def mark(self) -> str:
        """As it is written down on the hosts."""
        return json.dumps(asdict(self))


def left(restart: Restart, marks: Mapping[str, str]) -> set[str]:
    """The hosts to restart, by what each has written down: those that a cut run left, else all of them."""
    return {name for name, mark in marks.items() if mark == restart.mark} or set(marks)
