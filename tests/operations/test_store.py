"""A host installs an artifact only if it arrives as it was sent."""

from __future__ import annotations

import gzip
import io
import shlex
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from pyinfra.connectors.util import write_stdin

from kubekeel.artifacts import Artifact
from operations import store
from tests.operations.commands import Host

CONTENT = b"#!/bin/sh\necho run\n" + b"#" * 1000
PACKED = gzip.compress(CONTENT, mtime=0)


@pytest.fixture
def etcd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """Return a binary that a host lacks; the host's folders are in `tmp_path`."""
    monkeypatch.setattr(store, "STORE", str(tmp_path / "store"))
    monkeypatch.setattr(store, "INCOMING", str(tmp_path))
    monkeypatch.setattr(store, "host", Host({store.Stored: set()}))
    packed = tmp_path / sha256(PACKED).hexdigest()
    packed.write_bytes(PACKED)
    return Artifact("etcd", "v1", sha256(CONTENT).hexdigest(), Path("unpacked"), packed)


def arrive(artifact: Artifact, arrived: bytes) -> subprocess.CompletedProcess[bytes]:
    (command,) = store.store._inner([artifact])
    return subprocess.run(["sh", "-c", command.get_raw_value()], input=arrived, capture_output=True, check=False)


def test_a_binary_that_arrives_as_sent_is_installed(etcd: Artifact, tmp_path: Path) -> None:
    assert arrive(etcd, PACKED).returncode == 0
    placed = tmp_path / "store" / etcd.sha256 / "etcd"
    assert placed.read_bytes() == CONTENT
    assert placed.stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.rglob("etcd*")) == [placed]


@pytest.mark.parametrize("position", [0, len(PACKED) // 2, len(PACKED) - 1])
def test_a_binary_with_a_changed_byte_is_refused_named_and_deleted(
    etcd: Artifact, tmp_path: Path, position: int
) -> None:
    flipped = bytearray(PACKED)
    flipped[position] ^= 1
    done = arrive(etcd, bytes(flipped))
    assert done.returncode == 1
    assert done.stdout.startswith(b"minion1: etcd.gz did not arrive as it was sent; ")
    assert list(tmp_path.rglob("etcd*")) == []


@pytest.mark.parametrize(("room", "lacking"), [(1, "etcd.gz"), (len(PACKED) + 1, "etcd")])
def test_a_full_disk_is_named_with_the_path_and_no_partial_file_is_left(
    etcd: Artifact, tmp_path: Path, room: int, lacking: str
) -> None:
    (command,) = store.store._inner([etcd])
    # The limit of each file's size, in bytes.
    limit = f"exec prlimit --fsize={room} sh -c"
    script = f"trap '' XFSZ; {limit} {shlex.quote(command.get_raw_value())}"
    done = subprocess.run(["sh", "-c", script], input=PACKED, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stdout.decode().startswith(f"minion1: {tmp_path}/{lacking} could not be written; make room there")
    assert list(tmp_path.rglob("etcd*")) == []


def test_a_file_goes_to_a_command_byte_for_byte(tmp_path: Path) -> None:
    packed, written = tmp_path / "packed", io.BytesIO()
    packed.write_bytes(bytes(range(256)) * 3000)
    written.close = lambda: None  # type: ignore[method-assign]
    write_stdin(store.Content(packed), written)
    assert written.getvalue() == packed.read_bytes()
