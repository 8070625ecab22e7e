"""A reset of the machine, after all other specs have run on it."""

from __future__ import annotations

import pytest

from tests.vm.conftest import PATIENCE, Machine
from tests.vm.leftovers import left_over

pytestmark = pytest.mark.timeout(2 * PATIENCE)


def test_reset_leaves_the_machine_as_it_was(before: str, machine: Machine) -> None:
    machine.run("actions/reset.py", "--data", "confirm=kubekeel")
    assert left_over(machine, before) == []
