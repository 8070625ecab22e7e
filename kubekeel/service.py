"""A systemd service: its files, and the condition that holds once it serves."""

from __future__ import annotations

from dataclasses import dataclass

from kubekeel.files import Tree

NO_RESTARTS = "true"
"""The shell command of a program whose restarts nobody counts."""


@dataclass(frozen=True)
class Check:
    """A shell command that fails with the reason if a program refuses its files; the files are below $new."""

    files: Tree
    command: str


@dataclass(frozen=True)
class Service:
    """A unit, the files it must be younger than, and a shell condition that holds once it serves.

    `patience` is the longest time without progress, in seconds. New lines from `ready`, from the unit's journal or from
    the shell command `progress` are progress. `explain` is a shell command that prints why the condition does not hold,
    in addition to the unit's state and journal. `advance` is a shell command that only a wait runs, until the condition
    holds. `before` is a shell command that runs before the unit starts or restarts. These two may change the host; the
    other commands only read. `restarts` is a shell command that prints the names of programs, and how often each was
    restarted; a wait ends early if one of them ends again and again.
    """

    unit: str
    files: Tree
    ready: str
    patience: int = 120
    explain: str = "true"
    progress: str = "true"
    advance: str = ""
    before: str = "true"
    restarts: str = NO_RESTARTS
