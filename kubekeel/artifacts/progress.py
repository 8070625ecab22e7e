"""The progress of long work: a bar on a terminal, elsewhere a line per step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

Advance = Callable[[int], None]


def say(message: str) -> None:
    """Print one line for the user, on standard error."""
    Console(stderr=True).print(message, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def transferring(what: str, total: int | None, done: int = 0) -> Iterator[Advance]:
    """Show a bar in bytes."""
    with _bar(what, total, done, DownloadColumn(), TransferSpeedColumn()) as advance:
        yield advance


@contextmanager
def counting(what: str, total: int | None) -> Iterator[Advance]:
    """Show a bar in steps."""
    with _bar(what, total, 0, MofNCompleteColumn()) as advance:
        yield advance


@contextmanager
def _bar(what: str, total: int | None, done: int, *columns: ProgressColumn) -> Iterator[Advance]:
    console = Console(stderr=True)
    if not console.is_terminal:
        say(what)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda step: bar.advance(task, step)
