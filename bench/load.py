"""Processor time that a lab's machines have used."""

from __future__ import annotations

from lab.cgroups import Group


def seconds(group: Group) -> float:
    """What all processes in a group, and below it, have used so far."""
    for folder in group.folders:
        if (folder / "cpuacct.usage").exists():
            return int((folder / "cpuacct.usage").read_text()) / 1e9
        if (folder / "cpu.stat").exists() and (folder / "cgroup.controllers").exists():
            told = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
            return int(told["usage_usec"]) / 1e6
    return 0.0
