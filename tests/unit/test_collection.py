"""pytest collects tests without harm, and refuses the outer rings outside a lab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.lab import Lab
from lab.shape import PROJECT, Shape, write_inventory
from tests import rings
from tests.clones import copy

# Ends Python when it opens a connection or a private key.
WATCH = """
import os, sys

def _watch(event, arguments):
    opens_key = event == "open" and str(arguments[0]).endswith(".key")
    if opens_key or event in ("socket.connect", "socket.getaddrinfo"):
        print(event, arguments, file=sys.stderr, flush=True)
        os._exit(99)

sys.addaudithook(_watch)
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone whose inventory names the user's own hosts."""
    clone = copy(tmp_path_factory.mktemp("clones") / "clone")
    inventory = clone / "inventory.py"
    inventory.write_text(inventory.read_text().replace("192.168.1.", "192.0.2."))
    return clone


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Return the folder of a lab that is not up."""
    Shape().save(tmp_path / "shape.json")
    write_inventory(Shape(), tmp_path)
    return Lab(tmp_path).directory


def collect(
    clone: Path, *arguments: str, lab: Path | None = None, only: bool = True
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBEKEEL_")}
    named = {"KUBEKEEL_LAB_DIR": str(lab)} if lab else {}
    # All calls share it: without bytecode, Python compiles every module again.
    bytecode = {"PYTHONPYCACHEPREFIX": str(clone.parent / "bytecode")}
    (clone.parent / "watch.py").write_text(WATCH)
    options = ("-q", "-p", "no:cacheprovider", *(["--collect-only", "-p", "watch"] if only else []))
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments],
        cwd=clone, env={**environment, **named, "PYTHONPATH": str(clone.parent), **bytecode},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def found(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Return the folders of the collected tests."""
    return {"/".join(line.split("/")[:2]) for line in done.stdout.splitlines() if "::" in line}


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    paths = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {str(path): (path.stat().st_mode, 0 if path.is_dir() else path.stat().st_mtime_ns) for path in paths}


def test_pytest_without_arguments_collects_the_inner_rings(clone: Path) -> None:
    done = collect(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found(done) == {"tests/unit", "tests/operations", "tests/flow"}


@pytest.mark.parametrize(
    ("named", "outer"),
    [
        ("tests/chaos/test_backup.py", ["tests/chaos"]),
        ("tests/cluster", ["tests/cluster"]),
        ("tests/unit/../chaos", ["tests/chaos"]),
        ("tests", ["tests/cluster", "tests/vm", "tests/chaos"]),
        (".", ["tests/cluster", "tests/vm", "tests/chaos"]),
        ("tests/unit", []),
        ("tests/clusters.py", []),
    ],
)
def test_the_outer_rings_among_folders_are_found(named: str, outer: list[str]) -> None:
    assert rings.among([PROJECT / named]) == outer


def test_outer_rings_are_refused_without_a_lab(clone: Path) -> None:
    before = tree(clone)
    done = collect(clone, "tests/cluster/test_etcd.py::test_x", "tests/unit")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert "run only on a lab" in done.stderr
    assert "python3 -m lab test tests/c" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert tree(clone) == before


def test_an_outer_ring_named_by_module_is_refused_without_a_lab(clone: Path) -> None:
    done = collect(clone, "--pyargs", "tests.chaos.test_backup", only=False)
    assert done.returncode != 0
    assert "there is no lab" in done.stdout
    assert "passed" not in done.stdout


def test_outer_rings_are_refused_outside_the_network_of_the_lab(clone: Path, lab: Path) -> None:
    for named in (("tests/chaos/test_backup.py",), ("--pyargs", "tests.chaos.test_backup")):
        done = collect(clone, *named, lab=lab, only=False)
        assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
        assert "run only on a lab" in done.stderr


def test_collecting_tests_makes_no_connection_writes_nothing_and_reads_no_key(clone: Path, lab: Path) -> None:
    before = tree(clone), tree(lab)
    done = collect(clone, "tests", lab=lab)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found(done) >= {"tests/unit", "tests/cluster", "tests/chaos"}
    assert "test_etcd.py::test_each_member_is_healthy_and_sees_all_the_others[minion2]" in done.stdout
    assert (tree(clone), tree(lab)) == before


def test_no_module_of_the_tests_has_two_names(clone: Path) -> None:
    folders = {path.parent for path in (clone / "tests").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
    text = "\n".join(path.read_text() for path in (clone / "tests").rglob("*.py"))
    assert "\nfrom conftest import" not in text
