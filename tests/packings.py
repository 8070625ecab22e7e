"""Files packed as for a transfer, for the program that unpacks them."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from kubekeel.artifacts import PACKINGS, Packing

WAYS = [pytest.param(packing, id=packing.recipe) for packing in PACKINGS]


def needs(packing: Packing) -> Packing:
    """Return the packing; skip the test if this computer lacks the program that unpacks it."""
    program = packing.unpack.split()[0]
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    return packing


def pack(packing: Packing, content: bytes) -> bytes:
    packed = io.BytesIO()
    packing.pack(io.BytesIO(content), packed)
    return packed.getvalue()


def packed_file(folder: Path, content: bytes) -> Callable[[Packing], Path]:
    """Return a function that packs the content into a file in `folder`, named by its sha256."""

    def into_folder(packing: Packing) -> Path:
        packed = pack(packing, content)
        file = folder / sha256(packed).hexdigest()
        file.write_bytes(packed)
        return file

    return into_folder
