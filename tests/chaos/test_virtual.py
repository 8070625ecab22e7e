"""A virtual machine with the previous Debian release: the machine of tests/vm has the latest one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.machines import LISTING
from tests.lab_cluster import wait_until
from tests.vm.conftest import PATIENCE, machine_of
from tests.vm.leftovers import left_over


@pytest.mark.timeout(2 * PATIENCE)
def test_debian_12_runs_a_cluster_and_a_reset_leaves_nothing(tmp_path: Path) -> None:
    with machine_of(tmp_path, "--suite", "bookworm") as machine:
        before = machine.on(LISTING)
        machine.run("deploy.py")
        machine.serve()
        wait_until(lambda: machine.page("http://web") == "master", PATIENCE, "the pod reaches its service")
        assert machine.changes() == []
        machine.run("actions/reset.py", "--data", "confirm=kubekeel")
        assert left_over(machine, before) == []
