"""The processor time of a lab's machines."""

from __future__ import annotations

from lab.cgroups import Group


def seconds(group: Group) -> float:
    """Return the processor time (seconds) of all processes in a group and below it so far."""
    for folder in group.folders:
        if (folder / "cpuacct.usage").exists():
            return int((folder / "cpuacct.usage").read_text()) / 1e9
        if (folder / "cpu.stat").exists() and (folder / "cgroup.controllers").exists():
            values = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
            return int(values["usage_usec"]) / 1e6
    return 0.0
