"""The hosts' own commands delete replaced artifacts, but none that runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kubekeel.replaced import Replaced
from operations import store
from operations.store import discard


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a store of three binaries."""
    folder = tmp_path / "store"
    for digest in ("1", "2", "3"):
        (folder / digest).mkdir(parents=True)
        shutil.copy("/bin/sleep", folder / digest / "sleep")
    monkeypatch.setattr(store, "STORE", str(folder))
    return folder


def run(left: Replaced) -> None:
    for command in discard._inner(left=left):  # type: ignore[attr-defined]
        subprocess.run(["sh", "-c", command.get_raw_value()], check=True)


def test_replaced_binaries_are_deleted_with_their_folders_unless_they_run(kept: Path) -> None:
    with subprocess.Popen([kept / "2/sleep", "60"]) as running:
        run(Replaced(("1/sleep", "2/sleep"), ()))
        running.kill()
    assert sorted(path.name for path in kept.iterdir()) == ["2", "3"]
    run(Replaced(("2/sleep",), ()))
    assert [path.name for path in kept.iterdir()] == ["3"]


def test_replaced_images_are_deleted_from_containerd() -> None:
    [command] = discard._inner(left=Replaced((), ("kubekeel.local/pause:1", "kubekeel.local/pause:2")))
    assert "images rm kubekeel.local/pause:1 kubekeel.local/pause:2" in command.get_raw_value()
