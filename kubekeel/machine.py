"""What a host is like, as far as the files written for it depend on that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """Properties of a host that no run of Kubekeel changes."""

    hostname: str
    arch: str
    cgroup_v2: bool
    can_lower_oom_score: bool
    conntrack_limits_writable: bool
    kernel_defaults_set: bool
    overlay_snapshots: bool
