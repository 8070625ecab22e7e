"""A drill on a member's host leaves nothing there."""

from __future__ import annotations

import subprocess
from pathlib import Path

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
