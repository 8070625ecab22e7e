"""A restore puts new data of etcd in place of the old ones, which it keeps."""

from __future__ import annotations

import subprocess
from pathlib import Path

from operations.backup import take_over


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def restore(root: Path) -> None:
    """Restore a member whose folders are in `root`."""
    staged = root / "etcd/.restored/member"
    staged.mkdir(parents=True)
    (staged / "new.db").write_text("new")
    [command] = take_over._inner()
    script = command.get_raw_value().replace("/var/lib/etcd", f"{root}/etcd")
    subprocess.run(["sh", "-c", script], check=True)


def test_old_data_stay_on_the_disk_of_etcd(tmp_path: Path) -> None:
    (tmp_path / "etcd/member").mkdir(parents=True)
    (tmp_path / "etcd/member/old.db").write_text("old")
    restore(tmp_path)
    old, new = files(tmp_path)[::-1]
    assert new == "etcd/member/new.db"
    assert old.startswith("etcd/replaced/")
    assert old.endswith("/old.db")


def test_a_blank_member_gets_its_data_and_nothing_else(tmp_path: Path) -> None:
    restore(tmp_path)
    assert files(tmp_path) == ["etcd/member/new.db"]
    assert [path.name for path in (tmp_path / "etcd").iterdir()] == ["member"]
