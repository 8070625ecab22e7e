"""The properties of a host on which its files depend."""

from __future__ import annotations

from dataclasses import dataclass

from kubekeel.artifacts import GZIP, ZSTD, Packing

OWN_RESOLV_CONF = "/etc/kubernetes/resolv.conf"
"""The file of name servers for pods that Kubekeel writes if a host has no suitable one."""


@dataclass(frozen=True)
class Machine:
    """Properties of a host that no run of Kubekeel changes.

    `kernel_settings` and `conntrack_limits` mean that this host may write these sysctls: a container may not.
    `resolv_conf` is the file of name servers for pods; if it is OWN_RESOLV_CONF, it has `name_servers`.
    `memory` is in MiB. `zstd` means that this program is there.
    """

    hostname: str
    arch: str
    cgroup_v2: bool
    lowers_oom_score: bool
    kernel_settings: bool
    conntrack_limits: bool
    overlay_snapshots: bool
    resolv_conf: str
    name_servers: tuple[str, ...] = ()
    network_manager: bool = False
    memory: int = 0
    zstd: bool = False

    @property
    def packing(self) -> Packing:
        """How the host gets binaries and images."""
        return ZSTD if self.zstd else GZIP
