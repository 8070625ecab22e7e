"""How files are packed for their transfer: by zstd for hosts that have this program, by gzip for all others."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

# Measured on kubelet: level 6 takes twice as long for 4 % less; level 1 two thirds as long for 9 % more.
_GZIP_LEVEL = 4
# Level 19 takes twenty times as long for 13 % less; level 3 a fifth as long for 11 % more.
_ZSTD_LEVEL = 10
# Any number above 0 gives the same bytes.
_ZSTD_WORKERS = 4


@dataclass(frozen=True)
class Packing:
    """A way to pack: `recipe` names it in the cache, `unpack` is a command that prints a packed file's content."""

    recipe: str
    suffix: str
    unpack: str
    pack: Callable[[BinaryIO, BinaryIO], None]


@dataclass(frozen=True)
class Packed:
    """A packed file, which the cache names by its sha256; `content` is the name of what is in it."""

    content: str
    packing: Packing
    file: Path

    @property
    def name(self) -> str:
        """The name during the transfer to a host."""
        return f"{self.content}{self.packing.suffix}"

    @property
    def sha256(self) -> str:
        return self.file.name

    @property
    def unpack(self) -> str:
        """A command that prints the content; it runs in the file's folder."""
        return f"{self.packing.unpack} {self.name}"


def _gzip(plain: BinaryIO, packed: BinaryIO) -> None:
    # A name or a time would change the bytes.
    with gzip.GzipFile("", "wb", _GZIP_LEVEL, packed, mtime=0) as zipped:
        shutil.copyfileobj(plain, zipped, 1 << 20)


def _zstd(plain: BinaryIO, packed: BinaryIO) -> None:
    zstandard.ZstdCompressor(level=_ZSTD_LEVEL, threads=_ZSTD_WORKERS).copy_stream(plain, packed)


GZIP = Packing(f"gzip {_GZIP_LEVEL}", ".gz", "gunzip -c", _gzip)
ZSTD = Packing(f"zstd {_ZSTD_LEVEL}", ".zst", "zstd -dcq", _zstd)
PACKINGS = (GZIP, ZSTD)
