"""Files that are complete on the disk before anything uses them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a new file, with its mode from the first byte on, and sync it to the disk.

    An existing file is removed first. Raises OSError.
    """
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def unwritten(error: OSError, path: Path) -> str:
    """Return the fault of a file here that cannot be written: the one that the error names, or else `path`."""
    reason = error.strerror or type(error).__name__
    return f"{error.filename or path}: cannot be written ({reason}); make room, or correct the rights of its folder"


def replace(path: Path, content: bytes, mode: int) -> None:
    """Put a complete file in the place of `path`; an interruption leaves the old one.

    Nothing else may write the same file meanwhile. Raises OSError.
    """
    unfinished = beside(path)
    try:
        write_new(unfinished, content, mode)
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def beside(path: Path) -> Path:
    """Return the place of a file until it is complete."""
    return path.with_name(f"{path.name}.new")


def sync_folder(folder: Path) -> None:
    """Sync the names of a folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
