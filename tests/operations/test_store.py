"""What is brought to a host is put in place only as it was sent."""

from __future__ import annotations

import gzip
import subprocess
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from operations import store

CONTENT = b"#!/bin/sh\necho run\n"


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.setattr(store, "STORE", str(tmp_path / "store"))
    monkeypatch.setattr(store, "host", SimpleNamespace(name="minion1"))
    return SimpleNamespace(name="etcd", sha256=sha256(CONTENT).hexdigest())


def unpack(artifact: SimpleNamespace, arrived: bytes, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / f"{artifact.name}.gz").write_bytes(gzip.compress(arrived))
    script = f"set -eu\ncd {folder}\n{store._unpack(artifact)}"  # type: ignore[arg-type]
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)


def test_a_binary_that_arrived_as_sent_is_put_in_its_place(artifact: SimpleNamespace, tmp_path: Path) -> None:
    assert unpack(artifact, CONTENT, tmp_path).returncode == 0
    placed = tmp_path / "store" / artifact.sha256 / "etcd"
    assert placed.read_bytes() == CONTENT
    assert placed.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("position", [0, len(CONTENT) // 2, len(CONTENT) - 1])
def test_a_binary_with_a_flipped_byte_is_refused_named_and_left_nowhere(
    artifact: SimpleNamespace, tmp_path: Path, position: int
) -> None:
    flipped = bytearray(CONTENT)
    flipped[position] ^= 1
    done = unpack(artifact, bytes(flipped), tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("minion1: etcd did not arrive as it was sent; ")
    assert list(tmp_path.rglob("etcd*")) == []
