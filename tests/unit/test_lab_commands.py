"""The rights that `python3 -m lab` needs, and the owner of its files in the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import bootstrap, cli, owner
from lab.errors import LabError
from lab.side_by_side import side_by_side

PROJECT = Path(__file__).resolve().parents[2]
RINGS = ["tests/lab", "tests/cluster", "tests/vm"]


class Executed(Exception):
    """Raised where this process would become another program."""


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Act as a user without sudo, and without a lab."""

    def execute(_program: str, command: list[str]) -> None:
        raise Executed(*command)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "execvp", execute)
    monkeypatch.setattr(bootstrap, "environment", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setenv("KUBEKEEL_LAB_DIR", str(tmp_path / "lab"))
    monkeypatch.chdir(PROJECT)


@pytest.mark.usefixtures("user")
def test_setup_needs_neither_root_nor_a_lab() -> None:
    assert cli.main(["setup"]) == 0


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    "arguments",
    [
        ["tests/unit"],
        ["tests/flow/test_roles.py::x", "-k", "lab"],
        ["-x", "tests/operations", "tests/unit/test_pki.py"],
    ],
)
def test_inner_rings_need_neither_root_nor_a_lab(arguments: list[str]) -> None:
    with pytest.raises(Executed) as executed:
        cli.main(["test", *arguments])
    assert executed.value.args[1:] == ("-m", "pytest", *arguments)


def test_programs_run_in_parallel_and_the_output_of_each_stays_together(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    scripts = {"first": "read -r word <fifo; echo $word; exit 3", "second": "echo one; echo two >fifo; echo three"}
    with tempfile.TemporaryDirectory() as folder:
        os.mkfifo(f"{folder}/fifo")
        statuses = side_by_side({name: ["sh", "-c", f"cd {folder}; {script}"] for name, script in scripts.items()})
    assert statuses == {"first": 3, "second": 0}
    assert capfdbinary.readouterr().out == b"side by side: first, second\n== first\ntwo\n== second\none\nthree\n"


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    "arguments", [["up"], ["down"], ["status"], ["test"], ["test", "-k", "docs"], ["test", "tests/unit", "tests/chaos"]]
)
def test_other_commands_need_root(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 1
    assert "needs root" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["lab", "docs", "bench", "README.md"])
def test_only_arguments_below_the_folder_of_tests_are_paths(word: str) -> None:
    options = cli._parser().parse_args(["test", "-k", word])
    assert cli._words(options) == [*RINGS, "-k", word]
    chaos = cli._parser().parse_args(["test", "--chaos", "-k", word])
    assert cli._words(chaos) == [*RINGS, "tests/chaos", "-k", word]


# Root in another user's clone


@pytest.fixture
def clone() -> Iterator[Path]:
    """Yield the lab's part of a clone that belongs to a user unknown to this computer."""
    if os.geteuid() != 0:
        pytest.skip("only root can leave files of root's")
    # Unlike tmp_path, everybody can enter it.
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        left_out = shutil.ignore_patterns("__pycache__")
        for package in ("lab", "kubekeel"):
            shutil.copytree(PROJECT / package, clone / package, ignore=left_out)
        for path in (Path(folder), clone, *clone.rglob("*")):
            os.chown(path, 4242, 4242)
        yield clone


def not_the_owners(clone: Path) -> list[str]:
    return [str(path) for path in clone.rglob("*") if path.stat().st_uid != 4242]


def test_root_leaves_no_file_of_root_in_the_clone_of_a_user(clone: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-m", "lab", "status"],
        cwd=clone, env={**environment, "KUBEKEEL_LAB_DIR": str(tmp_path / "lab"), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "there is no lab" in done.stderr
    assert not_the_owners(clone) == []


def test_the_virtual_environment_belongs_to_the_owner_of_the_clone(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "PROJECT", clone)
    subprocess.run(owner.as_owner(["mkdir", str(clone / ".venv")]), check=True)
    assert (clone / ".venv").stat().st_uid == (clone / ".venv").stat().st_gid == 4242


def test_packages_that_a_user_cannot_install_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    with pytest.raises(LabError, match=r"python3\.11-venv: missing; install them with `sudo apt-get install python3"):
        bootstrap.install({"/none": "python3.11-venv"})
