"""A host installs an artifact only if it arrives as it was sent."""

from __future__ import annotations

import io
import shlex
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from pyinfra.connectors.util import write_stdin

from kubekeel.artifacts import Artifact, Image, Packed, Packing
from operations import store
from tests.operations.commands import Commands, Host
from tests.packings import WAYS, needs, packed_file

CONTENT = b"#!/bin/sh\necho run\n" + b"#" * 1000


@pytest.fixture(params=WAYS)
def packing(request: pytest.FixtureRequest) -> Packing:
    return needs(request.param)


@pytest.fixture
def etcd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """Return a binary that a host lacks; the host's folders are in `tmp_path`."""
    monkeypatch.setattr(store, "STORE", str(tmp_path / "store"))
    monkeypatch.setattr(store, "INCOMING", str(tmp_path))
    monkeypatch.setattr(store, "host", Host({store.Stored: set()}))
    return Artifact("etcd", "v1", sha256(CONTENT).hexdigest(), Path("unpacked"), packed_file(tmp_path, CONTENT))


@pytest.fixture
def packed(etcd: Artifact, packing: Packing) -> Packed:
    return etcd.packed(packing)


def arrive(artifact: Artifact, packing: Packing, arrived: bytes) -> subprocess.CompletedProcess[bytes]:
    (command,) = store.store._inner([artifact], packing=packing)
    return subprocess.run(["sh", "-c", command.get_raw_value()], input=arrived, capture_output=True, check=False)


def test_a_binary_that_arrives_as_sent_is_installed(etcd: Artifact, packed: Packed, tmp_path: Path) -> None:
    done = arrive(etcd, packed.packing, packed.file.read_bytes())
    assert done.returncode == 0, done.stderr
    placed = tmp_path / "store" / etcd.sha256 / "etcd"
    assert placed.read_bytes() == CONTENT
    assert placed.stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.rglob("etcd*")) == [placed]


@pytest.mark.parametrize("position", [0, 0.5, 1], ids=["first", "middle", "last"])
def test_a_binary_with_a_changed_byte_is_refused_named_and_deleted(
    etcd: Artifact, packed: Packed, tmp_path: Path, position: float
) -> None:
    flipped = bytearray(packed.file.read_bytes())
    flipped[int(position * (len(flipped) - 1))] ^= 1
    done = arrive(etcd, packed.packing, bytes(flipped))
    assert done.returncode == 1
    assert done.stdout.startswith(f"minion1: {packed.name} was damaged on the way; ".encode())
    assert list(tmp_path.rglob("etcd*")) == []


@pytest.mark.parametrize("lacks", ["packed", "content"])
def test_a_full_disk_is_named_with_the_path_and_no_partial_file_is_left(
    etcd: Artifact, packed: Packed, tmp_path: Path, lacks: str
) -> None:
    content = packed.file.read_bytes()
    room, lacking = {"packed": (1, packed.name), "content": (len(content) + 1, "etcd")}[lacks]
    (command,) = store.store._inner([etcd], packing=packed.packing)
    # The limit of each file's size, in bytes.
    limit = f"exec prlimit --fsize={room} sh -c"
    script = f"trap '' XFSZ; {limit} {shlex.quote(command.get_raw_value())}"
    done = subprocess.run(["sh", "-c", script], input=content, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stdout.decode().startswith(f"minion1: {tmp_path}/{lacking} could not be written; make room there")
    assert list(tmp_path.rglob("etcd*")) == []


def test_containerd_gets_an_image_unpacked(
    tmp_path: Path, packing: Packing, monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    ctr, received = tmp_path / "ctr", tmp_path / "received"
    ctr.write_text(f'#!/bin/sh\n[ "$4" != import ] || cat >{received}\n')
    ctr.chmod(0o755)
    monkeypatch.setattr(store, "INCOMING", str(tmp_path))
    monkeypatch.setattr(store, "_CTR", f"{ctr} -n k8s.io")
    image = Image("pause", "pause:1", "sha256:1", Path("archive"), "1", packed_file(tmp_path, CONTENT))
    (command,) = commands(store, "import_images", {store.Imported: {}}, [image], packing=packing)
    content = image.packed(packing).file.read_bytes()
    done = subprocess.run(["sh", "-c", command], input=content, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert received.read_bytes() == CONTENT
    assert list(tmp_path.glob("pause*")) == []


def test_a_file_goes_to_a_command_byte_for_byte(tmp_path: Path) -> None:
    packed, written = tmp_path / "packed", io.BytesIO()
    packed.write_bytes(bytes(range(256)) * 3000)
    written.close = lambda: None  # type: ignore[method-assign]
    write_stdin(store.Content(packed), written)
    assert written.getvalue() == packed.read_bytes()
