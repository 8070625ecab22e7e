"""The script that takes snapshots: it keeps only undamaged ones, and the newest five of them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "files/etcd/take-snapshot.sh"
DATABASE = b"bolt" * 1024
SOUND = DATABASE + sha256(DATABASE).digest()

# Its last argument is the file to write.
ETCDCTL = """#!/bin/sh
case "$*" in *"endpoint status"*) echo '[{{"Status":{{"dbSize":{size},"leader":1}}}}]'; exit ;; esac
while [ $# -gt 1 ]; do shift; done
cat {content} >"$1"
"""
# A disk of `room` KiB, with only the snapshots on it.
DF = """#!/bin/sh
echo head
echo disk x x $(( {room} - $(du -k --apparent-size --total ./*.db .new.db* 2>/dev/null | tail -n 1 | cut -f 1) ))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshots"
    folder.mkdir()
    (tmp_path / "bin").mkdir()
    command(tmp_path, "etcdctl", ETCDCTL.format(content=tmp_path / "content", size=len(SOUND)))
    command(tmp_path, "etcdutl", "#!/bin/sh\ntrue\n")
    (tmp_path / "content").write_bytes(SOUND)
    return folder


def command(home: Path, name: str, text: str) -> None:
    (home / "bin" / name).write_text(text)
    (home / "bin" / name).chmod(0o755)


def take(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{folder.parent / 'bin'}:{os.environ['PATH']}",
        "CREDENTIALS_DIRECTORY": "/credentials",
    }
    return subprocess.run(
        ["sh", "-c", SCRIPT.read_text().replace("/var/lib/etcd-snapshots", str(folder))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_undamaged_snapshot_is_kept_for_its_owner_only(folder: Path) -> None:
    assert take(folder).returncode == 0
    (kept,) = folder.iterdir()
    assert kept.suffix == ".db"
    assert kept.read_bytes() == SOUND
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", SOUND[:-1], SOUND[:-512], b"x" + SOUND[1:], SOUND[:-1] + b"x"])
def test_a_damaged_snapshot_is_named_and_not_kept(folder: Path, content: bytes) -> None:
    (folder.parent / "content").write_bytes(content)
    done = take(folder)
    assert done.returncode != 0
    assert "the snapshot is damaged" in done.stderr
    assert names(folder) == []


@pytest.mark.parametrize("name", ["etcdctl", "etcdutl"])
def test_no_snapshot_is_kept_if_etcd_or_the_check_fails(folder: Path, name: str) -> None:
    command(folder.parent, name, "#!/bin/sh\nexit 1\n")
    assert take(folder).returncode != 0
    assert names(folder) == []


def test_the_newest_five_snapshots_are_kept_and_no_partial_one(folder: Path) -> None:
    for hour in range(7):
        (folder / f"2026-01-01T{hour:02}0000Z.db").touch()
    (folder / ".new.db.part").touch()
    assert take(folder).returncode == 0
    *old, new = names(folder)
    assert old == [f"2026-01-01T{hour:02}0000Z.db" for hour in (3, 4, 5, 6)]
    assert new > "2026-01-02"


def fill(folder: Path, count: int, room: int) -> list[str]:
    """Write snapshots of 8 KiB to a disk of `room` KiB, with an etcd of 8 KiB; return their names."""
    command(folder.parent, "etcdctl", ETCDCTL.format(content=folder.parent / "content", size=8192))
    command(folder.parent, "df", DF.format(room=room))
    command(folder.parent, "du", "#!/bin/sh\nexec /usr/bin/du --apparent-size $*\n")
    (folder.parent / "content").write_bytes((DATABASE * 2)[:-544] + sha256((DATABASE * 2)[:-544]).digest())
    for hour in range(count):
        (folder / f"2026-01-01T{hour:02}0000Z.db").write_bytes(b"x" * 8192)
    return names(folder)


@pytest.mark.parametrize(("room", "left"), [(200, 5), (56, 5), (55, 4), (40, 3), (39, 2), (32, 2), (24, 1)])
def test_fewer_snapshots_are_kept_so_that_space_for_two_stays_free(folder: Path, room: int, left: int) -> None:
    old = fill(folder, 5, room)
    done = take(folder)
    assert done.returncode == 0, done.stderr
    found = names(folder)
    assert len(found) == left
    assert found[:-1] == old[5 - left + 1 :]
    assert found[-1] > "2026-01-02"


def test_the_last_snapshot_is_never_deleted_for_one_that_may_not_fit(folder: Path) -> None:
    old = fill(folder, 3, 23)
    done = take(folder)
    assert done.returncode == 1
    assert "has too little room for a snapshot (0 MiB free, 0 needed); make room on this disk" in done.stderr
    assert names(folder) == old


def test_the_copy_of_an_interrupted_rescue_is_deleted_once_it_is_old(folder: Path) -> None:
    for minutes, there in ((10, True), (120, False)):
        (folder / ".rescue/member").mkdir(parents=True, exist_ok=True)
        past = time.time() - 60 * minutes
        os.utime(folder / ".rescue", (past, past))
        assert take(folder).returncode == 0
        assert (folder / ".rescue").exists() is there


@pytest.mark.parametrize("link", [True, False])
def test_the_unit_deletes_what_an_interrupted_drill_left_once_it_is_old(tmp_path: Path, link: bool) -> None:
    unit = (SCRIPT.parents[2] / "tests/rendered/etcd/etc/systemd/system/etcd-snapshot.service").read_text()
    (command,) = re.findall(r"^ExecStartPre=\+(.*)$", unit, re.M)
    (disk := tmp_path / "disk").mkdir()
    place = tmp_path / "snapshots" if link else disk
    if link:
        place.symlink_to(disk)
    for name, hours in (("old", 8), ("running", 1)):
        (disk / f".verify.{name}").mkdir()
        (disk / f".verify.{name}/root.key").touch()
        past = time.time() - 3600 * hours
        os.utime(disk / f".verify.{name}", (past, past))
    (disk / "2026-01-01T000000Z.db").touch()
    subprocess.run(shlex.split(command.replace("/var/lib/etcd-snapshots", str(place))), check=True)
    assert names(disk) == [".verify.running", "2026-01-01T000000Z.db"]
