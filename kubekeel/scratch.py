"""A folder for secrets on this computer, which does not outlive the process that made it for long."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def scratch(place: Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder in `place`, and delete it afterwards; first delete the folders of processes that were killed.

    The process holds a lock on its folder for as long as it lives. Raises OSError.
    """
    # Between a folder and its lock, another process would take it for a dead one's.
    with _lock(place, fcntl.LOCK_EX):
        for left in place.glob(f"{prefix}*"):
            _delete_unless_held(left)
        made = TemporaryDirectory(prefix=prefix, dir=place)
        held = _lock(Path(made.name), fcntl.LOCK_EX)
    with made as folder, held:
        yield Path(folder)


def _delete_unless_held(folder: Path) -> None:
    # Somebody else's file or link of that name is none of ours.
    with suppress(BlockingIOError, NotADirectoryError), _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        shutil.rmtree(folder)


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path, how: int) -> AbstractContextManager[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, how)
    except BaseException:
        os.close(descriptor)
        raise
    return _locked(descriptor)
