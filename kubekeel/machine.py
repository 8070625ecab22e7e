"""What a host is like, as far as the files written for it depend on that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """Properties of a host that no run of Kubekeel changes.

    `kernel_settings` and `conntrack_limits` say whether this host may write those sysctls: a container may not.
    """

    hostname: str
    arch: str
    cgroup_v2: bool
    lowers_oom_score: bool
    kernel_settings: bool
    conntrack_limits: bool
    overlay_snapshots: bool
    resolv_conf: str
