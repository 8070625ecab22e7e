"""Files that are complete on the disk before anything uses them."""

from __future__ import annotations

import os
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
