"""A drill reads all of a backup, and leaves nothing on a member's host."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from operations import drill


@pytest.mark.parametrize("works", [True, False])
def test_the_host_itself_deletes_the_folder_of_a_drill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    script = tmp_path / "script.sh"
    script.write_text(f'set -eu\ncd "$1"\necho served\n{"true" if works else "false"}\n')
    monkeypatch.setattr(drill, "_SCRIPT", script)
    folder = tmp_path / ".verify.aB3xYz"
    folder.mkdir()
    (folder / "root.key").touch()
    done = subprocess.run(["sh", "-c", drill._drill(str(folder))], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode == 0) == ("served\n", works)
    assert not folder.exists()


class Reached(Exception):
    """The drill has made its folder."""


def test_a_drill_deletes_the_folders_of_drills_that_were_killed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive, foreign = (tmp_path / f".kubekeel-verify-{name}" for name in ("dead", "alive", "link"))
    for folder in (dead, alive, tmp_path / "elsewhere"):
        (folder / "pki").mkdir(parents=True)
        (folder / "pki/ca.key").touch()
    foreign.symlink_to(tmp_path / "elsewhere")
    seen: list[list[str]] = []

    def stop(*_: object) -> None:
        seen.append(sorted(path.name for path in tmp_path.glob(".kubekeel-verify-*")))
        raise Reached

    monkeypatch.setattr(drill, "cluster_of", lambda _: None)
    monkeypatch.setattr(drill, "state_dir", lambda: tmp_path / "pki")
    monkeypatch.setattr(drill, "put_in_place", stop)
    backup: Any = SimpleNamespace(metadata=SimpleNamespace(size=0), wanted=lambda _: {})
    held = os.open(alive, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(Reached):
        drill._drilled(SimpleNamespace(inventory=None), backup)  # type: ignore[arg-type]
    os.close(held)
    [during] = seen
    assert len(during) == 3
    assert {alive.name, foreign.name} < set(during)
    assert sorted(path.name for path in tmp_path.glob(".kubekeel-verify-*")) == [alive.name, foreign.name]
    assert (tmp_path / "elsewhere/pki/ca.key").exists()


PROGRAMS = {
    "etcdutl": "echo '{}'",
    "etcd": "echo 'ready to serve client requests'; exec sleep 60",
    "etcdctl": """case $* in
    *--keys-only) echo /registry/secrets/a/b; exit {keys} ;;
    *'--prefix /registry/secrets/'*) exit {values} ;;
    esac""",
}


@pytest.mark.parametrize(("keys", "values", "passes"), [(0, 0, True), (1, 0, False), (0, 1, False)])
def test_a_drill_fails_if_etcd_does_not_return_all_values(tmp_path: Path, keys: int, values: int, passes: bool) -> None:
    for name, script in PROGRAMS.items():
        (tmp_path / name).write_text(
            f"#!/bin/sh\n{script.replace('{keys}', f'{keys}').replace('{values}', f'{values}')}\n"
        )
        (tmp_path / name).chmod(0o755)
    command = ["sh", str(drill._SCRIPT), str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == passes, done.stdout + done.stderr
    assert ("etcd does not return all restored data" in done.stderr) != passes
