"""A host's hardware and kernel, read once per run."""

from __future__ import annotations

from collections.abc import Mapping

from kubekeel.machine import OWN_RESOLV_CONF, Machine
from kubekeel.release import MACHINES
from kubekeel.shell import script

LOOK = script("node/machine.sh")
"""Prints a word on each line, and its value if it has one."""


def machine(words: Mapping[str, str]) -> Machine:
    """Return the machine from the words that `LOOK` printed."""
    return Machine(
        hostname=words["hostname"],
        arch=MACHINES.get(words["arch"], words["arch"]),
        cgroup_v2="cgroup_v2" in words,
        lowers_oom_score="lowers_oom_score" in words,
        kernel_settings="kernel_settings" in words,
        conntrack_limits="conntrack_limits" in words,
        overlay_snapshots="overlay_snapshots" in words,
        resolv_conf=words["resolv_conf"] or OWN_RESOLV_CONF,
        name_servers=tuple(words.get("name_servers", "").split()),
        network_manager="network_manager" in words,
        memory=int(words.get("memory") or 0),
        zstd="zstd" in words,
    )
