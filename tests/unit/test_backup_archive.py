"""A backup's archive: who can read it, and what restoring it changes."""

from __future__ import annotations

import shutil
import stat
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain
from pathlib import Path
from random import Random

import pytest

from kubekeel import backup
from kubekeel.backup import Backup, BackupError, check_snapshot, default_path, put_in_place, read_passphrase, write
from kubekeel.keyfolder import PkiError
from kubekeel.pki import ROOTS, Pki, Step
from tests.clusters import cluster
from tests.unit.keys import rotated, saved

PASSPHRASE = b"correct horse"


@pytest.fixture(autouse=True)
def cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derive the passphrase's key at once: scrypt is slow by design."""
    monkeypatch.setattr(backup, "_COST", 2)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "pki"
    saved(folder, cluster())
    return folder


@pytest.fixture
def state(tmp_path: Path, keys: Path) -> Path:
    state_dir = tmp_path / "pki"
    shutil.copytree(keys, state_dir)
    for name in ("artifacts.lock", "known_hosts", "admin.conf", "run.lock"):
        (state_dir / name).write_text(name)
    return state_dir


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """Return a snapshot as etcd writes it: longer than one frame, and incompressible."""
    database = Random(0).randbytes(5000 * 512)
    path = tmp_path / "snapshot.db"
    path.write_bytes(database + sha256(database).digest())
    return path


@pytest.fixture
def archive(tmp_path: Path, state: Path, snapshot: Path) -> Path:
    path = tmp_path / "backups" / "one.kubekeel"
    write(path, PASSPHRASE, state, cluster(), "m", snapshot)
    return path


def restore(backup: Backup, state_dir: Path) -> None:
    put_in_place(state_dir, backup.wanted(state_dir), datetime(2026, 11, 24, 12, 0, tzinfo=UTC))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_backup_restores_the_keys_and_the_snapshot(
    tmp_path: Path, archive: Path, state: Path, snapshot: Path
) -> None:
    found = Backup.open(archive, PASSPHRASE)
    assert found.metadata.cluster == cluster().name
    assert found.metadata.member == "m"
    assert found.metadata.nodes == {node.name: node.address for node in cluster().nodes}
    pieces = list(found.snapshot(1000000))
    assert b"".join(pieces) == snapshot.read_bytes()
    assert {len(piece) for piece in pieces[:-1]} == {1000000}
    restore(found, tmp_path / "new")
    left_out = {"known_hosts", "admin.conf", "run.lock", ".lock"}
    kept = {name: text for name, text in files(state).items() if name not in left_out}
    assert files(tmp_path / "new") == {**kept, ".lock": b""}
    assert Pki.open(tmp_path / "new", cluster()).saved
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*.key")} == {0o600}


def test_only_its_owner_can_read_a_backup_and_it_shows_no_secret(archive: Path, state: Path) -> None:
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert stat.S_IMODE(archive.parent.stat().st_mode) == 0o700
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
    content = archive.read_bytes()
    for secret in (b"PRIVATE KEY", b"metadata", (state / "encryption.key").read_bytes().split()[1]):
        assert secret not in content
    assert "correct horse" not in repr(Backup.open(archive, PASSPHRASE))


def test_a_wrong_passphrase_is_refused(archive: Path) -> None:
    with pytest.raises(
        BackupError, match=r"one\.kubekeel: cannot be decrypted \(InvalidTag\); the passphrase is wrong"
    ):
        Backup.open(archive, b"wrong")


@pytest.mark.parametrize("place", [0, 20, 40, 5000, 1 << 20, -1])
def test_one_changed_byte_anywhere_is_refused(archive: Path, place: int) -> None:
    content = bytearray(archive.read_bytes())
    content[place] ^= 1
    archive.write_bytes(content)
    with pytest.raises(BackupError, match=r"one\.kubekeel: cannot be decrypted"):
        Backup.open(archive, PASSPHRASE)


@pytest.mark.parametrize("keep", [0, 10, 41, 41 + (1 << 20) + 16, -1, -17])
def test_a_truncated_backup_is_refused(archive: Path, keep: int) -> None:
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(BackupError, match=r"one\.kubekeel: cannot be decrypted"):
        Backup.open(archive, PASSPHRASE)


def test_reordered_frames_are_refused(archive: Path) -> None:
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
    with pytest.raises(BackupError, match=r"snapshot.db: is damaged or is not a snapshot of etcd \(\d+ bytes\); take"):
        write(tmp_path / "x.kubekeel", PASSPHRASE, state, cluster(), "m", snapshot)
    assert not list(tmp_path.glob("*.kubekeel*"))


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 544])
def test_a_file_that_is_not_a_snapshot_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BackupError, match="file: is damaged or is not a snapshot"):
        check_snapshot(tmp_path / "file")


def test_a_backup_is_never_overwritten(archive: Path, state: Path, snapshot: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(BackupError, match=r"one\.kubekeel: exists already; give another name"):
        write(archive, PASSPHRASE, state, cluster(), "m", snapshot)
    assert archive.read_bytes() == before


@pytest.mark.parametrize("root", ["ca.crt", "etcd-ca.key", "service-account.pub"])
def test_keys_of_another_cluster_are_not_overwritten(tmp_path: Path, archive: Path, state: Path, root: str) -> None:
    saved(tmp_path / "other", cluster())
    (state / root).write_bytes((tmp_path / "other" / root).read_bytes())
    with pytest.raises(BackupError, match=rf"{root}: belongs to another cluster than the backup; move .*pki away"):
        Backup.open(archive, PASSPHRASE).wanted(state)


ROTATED: dict[str, tuple[tuple[str, ...], str]] = {
    "an authority": (("etcd-ca",), "etcd-ca.crt, etcd-ca.key"),
    "the key of tokens": (("service-account",), "service-account.key, service-account.pub"),
    "every key": (tuple(ROOTS), ", ".join(sorted({*chain(*ROOTS.values())} - {"encryption.key"}))),
}


@pytest.mark.parametrize("case", ROTATED)
def test_a_backup_from_before_a_rotation_is_refused_as_such(archive: Path, state: Path, case: str) -> None:
    roots, names = ROTATED[case]
    rotated(state, cluster(), roots=roots)
    before = files(state)
    with pytest.raises(BackupError) as refused:
        Backup.open(archive, PASSPHRASE).wanted(state)
    assert str(refused.value) == (
        f"{state}: has newer keys than {archive}, which is from before a rotation of this cluster's keys ({names});"
        f" restore a later backup, or reset the hosts and move {state} away: this one then brings its own keys"
    )
    assert files(state) == before


def test_a_backup_from_after_a_rotation_is_refused_over_an_old_copy_of_the_keys(
    tmp_path: Path, state: Path, snapshot: Path
) -> None:
    shutil.copytree(state, tmp_path / "copy/pki")
    rotated(state, cluster(), roots=ROOTS)
    path = tmp_path / "later.kubekeel"
    write(path, PASSPHRASE, state, cluster(), "m", snapshot)
    with pytest.raises(BackupError, match=r"copy/pki: has older keys than .*later\.kubekeel, .* \(ca\.crt, ca\.key, "):
        Backup.open(path, PASSPHRASE).wanted(tmp_path / "copy/pki")


@pytest.mark.parametrize("steps", [(Step.TRUST,), (Step.TRUST, Step.SIGN)])
def test_a_backup_from_before_an_unfinished_rotation_is_restored(
    archive: Path, state: Path, steps: tuple[Step, ...]
) -> None:
    rotated(state, cluster(), *steps, roots=ROOTS)
    before = files(state)
    restore(Backup.open(archive, PASSPHRASE), state)
    assert files(state) == before


def test_restoring_again_after_an_interruption_gives_the_same_files(tmp_path: Path, archive: Path) -> None:
    found, new = Backup.open(archive, PASSPHRASE), tmp_path / "new"
    restore(found, new)
    before = files(new)
    for name in ("etcd-ca.key", "encryption.key", "nodes/m/admin.crt"):
        (new / name).unlink()
    (new / "etcd-ca.key.new").write_text("half")
    restore(found, new)
    assert Pki.open(new, cluster()).saved
    assert {name: files(new)[name] for name in before} == before
    assert found.wanted(new) == {}


# Restoring over newer keys


def test_restoring_over_the_same_keys_changes_nothing(archive: Path, state: Path) -> None:
    before = files(state)
    restore(Backup.open(archive, PASSPHRASE), state)
    assert files(state) == before


def test_newer_certificates_and_pins_are_kept(archive: Path, state: Path) -> None:
    shutil.rmtree(state / "nodes")
    shutil.rmtree(state / "control")
    saved(state, cluster())
    (state / "artifacts.lock").write_text("later")
    before = files(state)
    restore(Backup.open(archive, PASSPHRASE), state)
    assert files(state) == before


def encryption_keys(state: Path) -> list[str]:
    return [key.name for key in Pki.open(state, cluster()).encryption_keys]


def test_restoring_a_backup_from_before_a_rotation_loses_no_encryption_key(archive: Path, state: Path) -> None:
    old = (state / "encryption.key").read_bytes()
    rotated(state, cluster())
    new = (state / "encryption.key").read_bytes()
    restore(Backup.open(archive, PASSPHRASE), state)
    assert (state / "encryption.key").read_bytes() == new + old
    assert encryption_keys(state) == ["key2", "key1"]
    kept = state.with_name("pki-replaced")
    assert files(kept) == {"2026-11-24T120000Z/encryption.key": new}
    folders = [kept, kept / "2026-11-24T120000Z"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    assert stat.S_IMODE((folders[1] / "encryption.key").stat().st_mode) == 0o600
    # Restoring again changes nothing.
    assert Backup.open(archive, PASSPHRASE).wanted(state) == {}


def test_restoring_does_not_disturb_a_rotation(archive: Path, state: Path) -> None:
    rotated(state, cluster(), Step.TRUST)
    assert Backup.open(archive, PASSPHRASE).wanted(state) == {}
    assert encryption_keys(state) == ["key1", "key2"]


def test_another_encryption_key_of_the_same_name_is_refused(tmp_path: Path, archive: Path, state: Path) -> None:
    saved(tmp_path / "other", cluster())
    (state / "encryption.key").write_bytes((tmp_path / "other/encryption.key").read_bytes())
    with pytest.raises(PkiError, match=r"one\.kubekeel: has another key1 than .*/encryption\.key; "):
        Backup.open(archive, PASSPHRASE).wanted(state)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a//b", ""])
def test_a_backup_with_a_file_outside_its_folder_is_refused(
    tmp_path: Path, state: Path, snapshot: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "crafted.kubekeel"
    monkeypatch.setattr(backup, "_kept", lambda _: [Crafted(name)])
    write(path, PASSPHRASE, state, cluster(), "m", snapshot)
    with pytest.raises(BackupError, match=r"crafted\.kubekeel: its files differ from its list"):
        Backup.open(path, PASSPHRASE)


class Crafted:
    """A file of the state directory with a name that no such file has."""

    def __init__(self, name: str) -> None:
        self._name = name

    def relative_to(self, _: Path) -> str:
        return self._name

    def read_bytes(self) -> bytes:
        return b"crafted"


def test_the_passphrase_is_the_first_line_of_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    with pytest.raises(BackupError, match=r"passphrase: cannot be read \(No such file or directory\)"):
        read_passphrase(path)
    path.touch(0o600)
    with pytest.raises(BackupError, match="passphrase: has no passphrase"):
        read_passphrase(path)
    path.write_text("secret\nmore\n")
    assert read_passphrase(path) == b"secret"
    path.chmod(0o640)
    with pytest.raises(BackupError, match=r"passphrase: is readable by others \(mode 0640\); run chmod 600"):
        read_passphrase(path)


def test_backups_lie_beside_the_keys_by_default() -> None:
    moment = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    place = backup.default_path(Path("/home/ann/pki"), cluster(), moment)
    assert place == Path(f"/home/ann/backups/{cluster().name}-2026-11-24T120000Z.kubekeel")


def test_a_backup_lists_its_snapshot_and_files(archive: Path, state: Path, snapshot: Path) -> None:
    metadata = Backup.open(archive, PASSPHRASE).metadata
    assert metadata.snapshot == sha256(snapshot.read_bytes()).hexdigest()
    assert metadata.size == snapshot.stat().st_size
    assert metadata.files["encryption.key"] == sha256((state / "encryption.key").read_bytes()).hexdigest()
    assert metadata.nodes == {node.name: node.address for node in cluster().nodes}


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../x", "nodes/../../x"])
def test_a_backup_that_would_write_outside_the_keys_folder_is_refused(
    tmp_path: Path, state: Path, snapshot: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(backup, "_kept", lambda _: [state / name])
    monkeypatch.setattr(Path, "relative_to", lambda _path, _folder: name)
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"evil")
    made = tmp_path / "evil.kubekeel"
    write(made, PASSPHRASE, state, cluster(), "m", snapshot)
    monkeypatch.undo()
    monkeypatch.setattr(backup, "_COST", 2)
    with pytest.raises(BackupError, match="its files differ from its list"):
        Backup.open(made, PASSPHRASE)


def test_git_ignores_keys_and_backups_beside_the_inventory() -> None:
    backups = default_path(Path("pki"), cluster(), datetime.now(UTC)).parent
    rules = (Path(__file__).parents[2] / ".gitignore").read_text().splitlines()
    assert {"/pki/", "/pki-replaced/", f"/{backups}/"} <= {*rules}
