"""Files that are packed for their transfer."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import zstandard

from kubekeel.artifacts import PACKINGS, ZSTD, Cache, Packing, packed
from tests.packings import WAYS, pack

# The workers of zstd take more than one part of it.
CONTENT = Random(1).randbytes(1 << 20) * 40
MIB = 1 << 20


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def kept(cache: Cache, content: bytes) -> str:
    file = cache.location / "file"
    file.write_bytes(content)
    return cache.keep("file", file)


@pytest.mark.parametrize("packing", WAYS)
def test_a_file_is_packed_once_and_named_by_its_sha256(cache: Cache, packing: Packing) -> None:
    address = kept(cache, b"content")
    first = cache.packed(address, packing)
    seen = first.stat()
    assert cache.packed(address, packing) == first
    assert first.stat().st_mtime_ns == seen.st_mtime_ns


def test_each_way_to_pack_has_its_own_file(cache: Cache) -> None:
    address = kept(cache, b"content")
    assert len({cache.packed(address, packing) for packing in PACKINGS}) == len(PACKINGS)


@pytest.mark.parametrize("packing", WAYS)
def test_packing_later_gives_the_same_bytes(packing: Packing, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pack(packing, b"content")
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert pack(packing, b"content") == before


def test_a_computer_with_other_processors_packs_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = pack(ZSTD, CONTENT)
    monkeypatch.setattr(packed, "_ZSTD_WORKERS", 1)
    assert pack(ZSTD, CONTENT) == before


def test_a_host_needs_little_memory_to_unpack() -> None:
    assert zstandard.get_frame_parameters(pack(ZSTD, CONTENT)).window_size <= 8 * MIB
