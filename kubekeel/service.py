"""A systemd service as Kubekeel runs it: its files, and how to tell that it serves."""

from __future__ import annotations

from dataclasses import dataclass

from kubekeel.files import Tree


@dataclass(frozen=True)
class Check:
    """A shell command that fails, saying why, where a program refuses its files; they are below the folder $new."""

    files: Tree
    command: str


@dataclass(frozen=True)
class Service:
    """A unit, the files it must be younger than, and a shell condition that holds once it serves.

    `patience` is in seconds: for so long the unit may stand still. It moves as long as `ready`, its journal or the
    shell command `progress` print lines that they have not printed before. `explain` is a shell command whose output
    tells why the condition does not hold, beside the unit's own state and journal. `advance` is a shell command that
    only a wait runs, as long as the condition does not hold: it may change something, while all the others only ask.
    """

    unit: str
    files: Tree
    ready: str
    patience: int = 120
    explain: str = "true"
    progress: str = "true"
    advance: str = ""
