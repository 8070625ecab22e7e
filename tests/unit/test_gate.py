"""The project's gate, .ci/run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
RECORDER = '#!/bin/sh\necho "$(basename "$0") $*, lab $KUBEKEEL_LAB_DIR" >>"$CALLS"\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a checkout in which every program of the gate only records its call."""
    clone = tmp_path / "clone"
    (clone / ".ci").mkdir(parents=True)
    shutil.copy(PROJECT / ".ci/run", clone / ".ci")
    for program in ("python3", ".ci/style", *(f".venv/bin/{name}" for name in ("pytest", "python"))):
        file = clone / program
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(RECORDER)
        file.chmod(0o755)
    return clone


@pytest.mark.parametrize("developers", ["", "/developers/lab"], ids=["the default", "a folder of its own"])
def test_the_gate_has_its_own_lab_and_never_touches_the_developer_s(clone: Path, developers: str) -> None:
    calls = clone / "calls"
    environment = {**os.environ, "PATH": f"{clone}:{os.environ['PATH']}", "CALLS": str(calls)}
    done = subprocess.run(
        [str(clone / ".ci/run")],
        env={**environment, "KUBEKEEL_LAB_DIR": developers}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    called = calls.read_text().splitlines()
    assert {"up", "test", "down"} <= {words.split()[3].rstrip(",") for words in called if " -m lab " in words}
    assert {words.partition(", lab ")[2] for words in called} == {str(clone / ".ci/lab")}


def test_the_style_reads_every_shell_script_and_every_rendered_template_of_one() -> None:
    line = next(line for line in (PROJECT / ".ci/style").read_text().splitlines() if "shellcheck" in line)
    read = {file for pattern in line.split()[2:] for file in PROJECT.glob(pattern)}
    folders = ("bench", "files", "lab", "templates", "vagrant")
    # Nothing deeper in .ci: the gate's own lab is there.
    files = [*(PROJECT / ".ci").iterdir(), *(file for folder in folders for file in (PROJECT / folder).rglob("*"))]
    contents = {file: file.read_bytes() for file in files if file.is_file()}
    scripts = {file for file, text in contents.items() if text.startswith(b"#!/bin/sh\n") or file.suffix == ".sh"}
    templates = {file for file in scripts if file.suffix == ".j2"}
    assert {str(file.relative_to(PROJECT)) for file in scripts - templates - read} == set()
    # A template's second line is a comment without placeholders.
    rendered = {file.read_text().splitlines()[1] for file in read if "rendered" in file.parts}
    assert [file.name for file in templates if file.read_text().splitlines()[1] not in rendered] == []


def test_git_ignores_the_lab_of_the_gate() -> None:
    assert "/.ci/lab/" in (PROJECT / ".gitignore").read_text().splitlines()
