"""The script that takes snapshots: only sound ones are kept, and of them the newest five."""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "files/etcd/take-snapshot.sh"
DATABASE = b"bolt" * 1024
SOUND = DATABASE + sha256(DATABASE).digest()

# Its last argument is the file to write.
ETCDCTL = """#!/bin/sh
while [ $# -gt 1 ]; do shift; done
cat {given} >"$1"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    (tmp_path / "bin").mkdir()
    command(tmp_path, "etcdctl", ETCDCTL.format(given=tmp_path / "given"))
    command(tmp_path, "etcdutl", "#!/bin/sh\ntrue\n")
    (tmp_path / "given").write_bytes(SOUND)
    return folder


def command(home: Path, name: str, text: str) -> None:
    (home / "bin" / name).write_text(text)
    (home / "bin" / name).chmod(0o755)


def take(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{folder.parent / 'bin'}:{os.environ['PATH']}",
        "STATE_DIRECTORY": str(folder),
        "CREDENTIALS_DIRECTORY": "/credentials",
    }
    return subprocess.run(["sh", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_sound_snapshot_is_kept_for_its_owner_alone(folder: Path) -> None:
    assert take(folder).returncode == 0
    (kept,) = folder.iterdir()
    assert kept.suffix == ".db"
    assert kept.read_bytes() == SOUND
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("given", [b"", SOUND[:-1], SOUND[:-512], b"x" + SOUND[1:], SOUND[:-1] + b"x"])
def test_a_damaged_one_is_told_and_not_kept(folder: Path, given: bytes) -> None:
    (folder.parent / "given").write_bytes(given)
    done = take(folder)
    assert done.returncode != 0
    assert "the snapshot is damaged" in done.stderr
    assert names(folder) == []


@pytest.mark.parametrize("name", ["etcdctl", "etcdutl"])
def test_none_is_kept_where_etcd_or_its_check_fails(folder: Path, name: str) -> None:
    command(folder.parent, name, "#!/bin/sh\nexit 1\n")
    assert take(folder).returncode != 0
    assert names(folder) == []


def test_the_newest_five_are_kept_and_nothing_half_written(folder: Path) -> None:
    for hour in range(7):
        (folder / f"2026-01-01T{hour:02}0000Z.db").touch()
    (folder / ".new.db.part").touch()
    assert take(folder).returncode == 0
    *old, new = names(folder)
    assert old == [f"2026-01-01T{hour:02}0000Z.db" for hour in (3, 4, 5, 6)]
    assert new > "2026-01-02"
