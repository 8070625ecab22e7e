"""After each way to install Kubekeel, a run finds nothing to change."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import clones
from tests.lab_cluster import INVENTORY
from tests.support import Run, deployed


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    """Deploy first, since other specs may have left something to change."""
    deployed()


@pytest.mark.parametrize("way", clones.ways())
def test_a_run_after_each_way_to_install_changes_nothing(way: str, tmp_path: Path) -> None:
    clone = clones.copy(tmp_path / "clone")
    clones.install(way, clone)
    done = subprocess.run(
        [*clones.pyinfra(), "-y", str(INVENTORY), "deploy.py"],
        cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    run = Run(done.returncode, done.stdout)
    assert run.status == 0, run.output
    assert run.changes == []
