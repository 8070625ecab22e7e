from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from kubekeel import backup
from kubekeel.backup import Backup, BackupError, check_snapshot, read_passphrase, write
from kubekeel.pki import Pki
from tests.unit.test_cluster import cluster

PASSPHRASE = b"correct horse"


@pytest.fixture(autouse=True)
def cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passphrase's key at once: scrypt takes its time by design."""
    monkeypatch.setattr(backup, "_COST", 2)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state_dir = tmp_path / "pki"
    Pki.open(state_dir, cluster())
    for name in ("artifacts.lock", "known_hosts", "admin.conf", "run.lock"):
        (state_dir / name).write_text(name)
    return state_dir


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """What etcd would write, of more than one frame and badly to compress."""
    database = b"".join(sha256(bytes([i % 251, i >> 8 & 255])).digest() for i in range(80000))
    database = database[: len(database) // 512 * 512]
    path = tmp_path / "snapshot.db"
    path.write_bytes(database + sha256(database).digest())
    return path


@pytest.fixture
def archive(tmp_path: Path, state: Path, snapshot: Path) -> Path:
    path = tmp_path / "backups" / "one.kubekeel"
    write(path, PASSPHRASE, state, cluster(), "m", snapshot)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_put_in_comes_out(tmp_path: Path, archive: Path, state: Path, snapshot: Path) -> None:
    found = Backup.open(archive, PASSPHRASE)
    assert found.metadata.cluster == cluster().name
    assert found.metadata.member == "m"
    assert found.metadata.nodes == {node.name: node.address for node in cluster().nodes}
    pieces = list(found.snapshot(1000000))
    assert b"".join(pieces) == snapshot.read_bytes()
    assert {len(piece) for piece in pieces[:-1]} == {1000000}
    found.unpack_state(tmp_path / "new")
    left_out = {"known_hosts", "admin.conf", "run.lock", ".lock"}
    assert files(tmp_path / "new") == {name: text for name, text in files(state).items() if name not in left_out}
    Pki.open(tmp_path / "new", cluster())
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*.key")} == {0o600}


def test_it_is_for_its_owner_alone_and_shows_nothing(archive: Path, state: Path) -> None:
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert stat.S_IMODE(archive.parent.stat().st_mode) == 0o700
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
    content = archive.read_bytes()
    for secret in (b"PRIVATE KEY", b"metadata", (state / "encryption.key").read_bytes().split()[1]):
        assert secret not in content
    assert "correct horse" not in repr(Backup.open(archive, PASSPHRASE))


def test_another_passphrase_opens_nothing(archive: Path) -> None:
    with pytest.raises(BackupError, match=r"one\.kubekeel: cannot be decrypted \(InvalidTag\); the passphrase is anot"):
        Backup.open(archive, b"wrong")


@pytest.mark.parametrize("place", [0, 20, 40, 5000, 1 << 20, -1])
def test_one_changed_byte_anywhere_is_found(archive: Path, place: int) -> None:
    content = bytearray(archive.read_bytes())
    content[place] ^= 1
    archive.write_bytes(content)
    with pytest.raises(BackupError, match=r"one\.kubekeel: cannot be decrypted"):
        Backup.open(archive, PASSPHRASE)


@pytest.mark.parametrize("keep", [0, 10, 41, 41 + (1 << 20) + 16, -1, -17])
def test_a_cut_off_end_is_found(archive: Path, keep: int) -> None:
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(BackupError, match=r"one\.kubekeel: cannot be decrypted"):
        Backup.open(archive, PASSPHRASE)


def test_frames_in_another_order_are_found(archive: Path) -> None:
    content, frame = archive.read_bytes(), (1 << 20) + 16
    first, second = content[41 : 41 + frame], content[41 + frame : 41 + 2 * frame]
    archive.write_bytes(content[:41] + second + first + content[41 + 2 * frame :])
    with pytest.raises(BackupError, match="cannot be decrypted"):
        Backup.open(archive, PASSPHRASE)


@pytest.mark.parametrize("place", [0, 4096, -40, -1])
def test_a_damaged_snapshot_is_refused_and_no_backup_is_made(
    tmp_path: Path, state: Path, snapshot: Path, place: int
) -> None:
    content = bytearray(snapshot.read_bytes())
    content[place] ^= 1
    snapshot.write_bytes(content)
    with pytest.raises(BackupError, match=r"snapshot.db: is damaged, or no snapshot of etcd \(\d+ bytes\); take"):
        write(tmp_path / "x.kubekeel", PASSPHRASE, state, cluster(), "m", snapshot)
    assert not list(tmp_path.glob("*.kubekeel*"))


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 544])
def test_what_is_no_snapshot_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BackupError, match="file: is damaged, or no snapshot"):
        check_snapshot(tmp_path / "file")


def test_a_backup_is_never_overwritten(archive: Path, state: Path, snapshot: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(BackupError, match=r"one\.kubekeel: is there already; give another name"):
        write(archive, PASSPHRASE, state, cluster(), "m", snapshot)
    assert archive.read_bytes() == before


def test_keys_of_another_cluster_are_not_overwritten(tmp_path: Path, archive: Path) -> None:
    Pki.open(tmp_path / "other", cluster())
    before = files(tmp_path / "other")
    with pytest.raises(BackupError, match=r"ca.crt: is of another cluster than the backup; move .*other away"):
        Backup.open(archive, PASSPHRASE).unpack_state(tmp_path / "other")
    assert files(tmp_path / "other") == before


def test_unpacking_again_and_after_a_cut_gives_the_same(tmp_path: Path, archive: Path) -> None:
    found = Backup.open(archive, PASSPHRASE)
    found.unpack_state(tmp_path / "new")
    before = files(tmp_path / "new")
    for name in ("etcd-ca.key", "encryption.key"):
        (tmp_path / "new" / name).unlink()
    (tmp_path / "new" / "etcd-ca.key.new").write_text("half")
    found.unpack_state(tmp_path / "new")
    assert files(tmp_path / "new") == before


def test_the_passphrase_is_the_first_line_of_a_file_nobody_else_can_read(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    with pytest.raises(BackupError, match=r"passphrase: cannot be read \(No such file or directory\)"):
        read_passphrase(path)
    path.touch(0o600)
    with pytest.raises(BackupError, match="passphrase: holds no passphrase"):
        read_passphrase(path)
    path.write_text("secret\nmore\n")
    assert read_passphrase(path) == b"secret"
    path.chmod(0o640)
    with pytest.raises(BackupError, match=r"passphrase: can be read by others \(mode 0640\); chmod 600"):
        read_passphrase(path)


def test_a_backup_has_its_place_beside_the_keys() -> None:
    moment = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    place = backup.default_path(Path("/home/ann/pki"), cluster(), moment)
    assert place == Path(f"/home/ann/backups/{cluster().name}-2026-11-24T120000Z.kubekeel")


def test_the_list_within_tells_what_is_in_it(archive: Path, state: Path, snapshot: Path) -> None:
    metadata = Backup.open(archive, PASSPHRASE).metadata
    assert metadata.snapshot == sha256(snapshot.read_bytes()).hexdigest()
    assert metadata.size == snapshot.stat().st_size
    assert metadata.files["encryption.key"] == sha256((state / "encryption.key").read_bytes()).hexdigest()
    assert json.dumps(metadata.nodes)
