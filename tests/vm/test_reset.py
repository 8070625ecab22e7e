"""A reset, when all else was tried on the machine."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tests.chaos.machines import LISTING
from tests.vm.conftest import PATIENCE, Machine

pytestmark = pytest.mark.timeout(2 * PATIENCE)


def test_reset_leaves_the_machine_as_it_was(before: str, machine: Machine) -> None:
    machine.run("actions/reset.py", "--data", "confirm=kubekeel")
    of_packages = {path.removeprefix("/usr") for path in machine.on("cat /var/lib/dpkg/info/*.list").splitlines()}
    assert left_over(machine.on(LISTING), before, of_packages) == []


# What installing packages, and booting, write down elsewhere.
RECORDS = ("/var/lib/dpkg/", "/var/lib/systemd/", "/etc/alternatives/")


def left_over(after: str, before: str, of_packages: Collection[str]) -> list[str]:
    """What there is that was not there before, but for the files of packages, by their paths without /usr."""

    def is_of_a_package(line: str) -> bool:
        words = {word.removeprefix("/usr") for word in line.split()}
        units = {f"/lib/systemd/system/{word}" for word in words}
        return any(record in line for record in RECORDS) or not {*of_packages}.isdisjoint(words | units)

    return [line for line in after.splitlines() if line not in before.splitlines() and not is_of_a_package(line)]
