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
