"""The reset of the virtual machine, after all that the other files did there."""

from __future__ import annotations

import pytest

from tests.leftovers import left_over
from tests.virtual import PATIENCE, Machine

pytestmark = pytest.mark.timeout(PATIENCE)


def test_reset_leaves_the_machine_as_it_was(before: str, machine: Machine) -> None:
    machine.run("actions/reset.py", "--data", "confirm=kubekeel")
    assert left_over(machine, before) == []
