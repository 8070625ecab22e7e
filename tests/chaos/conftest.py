"""Fixtures of specs that do real harm: those of tests/cluster, and a lab of a test's own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import *  # noqa: F403
from tests.lab_cluster import STATE
from tests.lab_command import Command, lab_in


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Command]:
    pki = tmp_path / "lab/pki"
    pki.mkdir(parents=True, mode=0o700)
    # There is no internet here: the new lab takes the artifacts of the lab that this test runs in.
    shutil.copy(STATE / "artifacts.lock", pki)
    command = lab_in(tmp_path / "lab")
    yield command
    command("down")
