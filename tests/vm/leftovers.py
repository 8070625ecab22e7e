"""What a reset leaves on a machine."""

from __future__ import annotations

from tests.chaos.machines import LISTING
from tests.vm.conftest import Machine

# Paths that package installations and boots write.
RECORDS = ("/var/lib/dpkg/", "/var/lib/systemd/", "/etc/alternatives/")


def left_over(machine: Machine, before: str, node: str = "master") -> list[str]:
    """Return the lines of a machine's listing that `before` lacks, without files of packages."""
    of_packages = {path.removeprefix("/usr") for path in machine.on("cat /var/lib/dpkg/info/*.list", node).splitlines()}

    def is_of_a_package(line: str) -> bool:
        words = {word.removeprefix("/usr") for word in line.split()}
        units = {f"/lib/systemd/system/{word}" for word in words}
        return any(record in line for record in RECORDS) or not {*of_packages}.isdisjoint(words | units)

    return [
        line
        for line in machine.on(LISTING, node).splitlines()
        if line not in before.splitlines() and not is_of_a_package(line)
    ]
