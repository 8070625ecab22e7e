"""What a reset clears away, and what it does not enter."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

# Functions, and nothing that does anything.
FUNCTIONS = (Path(__file__).resolve().parents[2] / "files/node/undo.sh").read_text()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder with data of etcd, on what may be a disk."""
    disk = tmp_path / "disk"
    (disk / "member/wal").mkdir(parents=True)
    (disk / "member/wal/0.wal").write_text("log")
    (disk / ".restored").mkdir()
    (disk / "lost+found").mkdir()
    return disk


def reset(place: Path, *mounted: Path) -> list[str]:
    """Clear a place away where these are mounted, and list what then remains of it."""
    mounts = "".join(f"echo {path};" for path in mounted)
    script = f"""
    {FUNCTIONS}
    mounts() {{ {mounts or "true;"} }}
    chown() {{ true; }}
    clear_away {place}
    remains {place}
    """
    done = subprocess.run(["sh", "-c", script, "reset", "host", "10.244.0.0/16"], capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_an_ordinary_folder_goes(disk: Path) -> None:
    assert reset(disk) == []
    assert not disk.exists()


def test_a_disk_of_its_own_is_emptied_and_stays(disk: Path) -> None:
    disk.chmod(0o700)
    assert reset(disk, disk) == []
    assert [path.name for path in disk.iterdir()] == ["lost+found"]
    assert disk.stat().st_mode & 0o777 == 0o755


def test_a_link_to_another_disk_stays_and_what_it_leads_to_is_emptied(tmp_path: Path, disk: Path) -> None:
    place = tmp_path / "etcd"
    place.symlink_to(disk)
    assert reset(place) == []
    assert place.readlink() == disk
    assert [path.name for path in disk.iterdir()] == ["lost+found"]


@pytest.mark.parametrize("link", [True, False])
def test_a_folder_below_which_something_is_still_mounted_is_not_entered_but_told(
    tmp_path: Path, disk: Path, link: bool
) -> None:
    place = disk
    if link:
        place = tmp_path / "kubelet"
        place.symlink_to(disk)
    volume = disk / "member"
    assert reset(place, volume) == [str(place), str(volume)]
    assert (volume / "wal/0.wal").read_text() == "log"


@pytest.mark.parametrize("leads_to", ["not-mounted", "not-mounted/etcd"])
def test_a_link_to_nowhere_is_nobody_s_business(tmp_path: Path, leads_to: str) -> None:
    place = tmp_path / "etcd"
    place.symlink_to(tmp_path / leads_to)
    assert reset(place, tmp_path / "other") == []
    assert place.is_symlink()
