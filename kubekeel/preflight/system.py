"""Whether a host's system and its resources are enough for its roles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from kubekeel.cluster import Cluster, Node
from kubekeel.machine import OWN_RESOLV_CONF
from kubekeel.preflight.seen import Finding, HostSeen, listed
from kubekeel.render import kernel_settings

COMMANDS = (
    *("awk", "base64", "find", "flock", "getent", "grep", "gunzip", "ip", "sed", "sha256sum", "ss", "sysctl", "tar"),
    *("timeout", "useradd", "xargs"),
)
"""What Kubekeel calls on a host and does not install."""

PACKAGE_MANAGERS = ("apt-get", "dnf", "zypper")
PACKAGES = {
    # flanneld clears away the rules of the other mode first, and does not start without iptables.
    "nftables": {"nft": "nftables", "iptables": "iptables", "ip6tables": "iptables", "modprobe": "kmod"},
    "iptables": {"iptables": "iptables", "ip6tables": "iptables", "modprobe": "kmod"},
}
"""What it installs where it is missing: by `kube_proxy_mode` the commands with their packages."""

DISKS = {"/opt": 1024, "/var/lib": 2048}
"""The MiB that must be free for a first run, by folder; later what a run brings must fit, and some to spare."""

FOLDERS = (
    *("/etc/cni", "/etc/containerd", "/etc/etcd", "/etc/flannel", "/etc/kubernetes", "/opt/cni", "/opt/kubekeel"),
    *("/var/lib/cni", "/var/lib/containerd", "/var/lib/etcd", "/var/lib/etcd-snapshots", "/var/lib/kubelet"),
    *("/var/lib/kube-proxy", "/var/log/kubernetes", "/var/log/pods"),
)
"""The folders that people put elsewhere by a link."""

_OLDEST_SYSTEMD = 248
_CONTROLLERS = frozenset({"cpu", "cpuset", "memory", "pids"})
_SPARE_DISK = 256
_CLOCK_TOLERANCE = 10


def system_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    if not seen.systemd:
        yield "is not run by systemd", seen.system, "take a distribution that is, like Debian or Ubuntu"
    elif seen.systemd < _OLDEST_SYSTEMD:
        yield "has too old a systemd", seen.systemd, f"upgrade the distribution; {_OLDEST_SYSTEMD} is the oldest"
    nftables = cluster.kube_proxy_mode == "nftables"
    if nftables and _version(seen.kernel) < (5, 13):
        remedy = 'boot 5.13 or newer, or set kube_proxy_mode = "iptables"'
        yield "has too old a kernel for nftables", seen.kernel, remedy
    elif _version(seen.kernel) < (4, 19):
        yield "has too old a kernel", seen.kernel, "boot 4.19 or newer"
    if seen.machine.arch != node.arch:
        yield f"is not {node.arch}, as its arch says", seen.machine.arch, "correct arch in the inventory"
    if lacking := _CONTROLLERS - seen.controllers:
        yield "lacks cgroup controllers", listed(lacking), "enable them on the kernel's command line"
    if lacking := frozenset(COMMANDS) - seen.commands:
        yield "lacks commands", listed(lacking), "install them"
    lacking = frozenset(PACKAGES[cluster.kube_proxy_mode]) - seen.commands
    if lacking and not seen.commands.intersection(PACKAGE_MANAGERS):
        yield f"has no {', '.join(PACKAGE_MANAGERS)} for what it lacks", listed(lacking), "install that by hand"


def _version(kernel: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", kernel)[:2]))


def resource_faults(node: Node, seen: HostSeen, arriving: Mapping[str, int]) -> Iterator[Finding]:
    for swap in seen.swaps:
        remedy = "swapoff -a, and take it out of /etc/fstab or of what makes it at boot, like zram-generator"
        yield "swaps, and kubelet refuses to start", swap, remedy
    # kubeadm's measures.
    memory = 1700 if "masters" in node.roles else 700
    if seen.memory < memory:
        yield f"has less than {memory} MiB of memory", f"{seen.memory} MiB", "give it more"
    for folder, free in seen.disks.items():
        wanted = _SPARE_DISK + arriving.get(folder, 0) if seen.installed else DISKS[folder]
        if free < wanted:
            yield f"has less than {wanted} MiB free in {folder}", f"{free} MiB", "make room"
    for folder, leads_to in seen.astray.items():
        yield f"has a link to no folder as {folder}", leads_to, "mount that, or remove the link"
    if abs(seen.clock_off) > _CLOCK_TOLERANCE:
        way = "ahead of" if seen.clock_off > 0 else "behind"
        yield f"has a clock {way} this machine's", f"{abs(seen.clock_off):.0f} s", "set both by NTP"


def warnings(seen: HostSeen) -> Iterator[Finding]:
    if seen.machine.resolv_conf == OWN_RESOLV_CONF and not seen.machine.name_servers:
        remedy = "pods find the cluster's own names alone; name one in /etc/resolv.conf that is not a loopback address"
        yield "has no name server that pods can use", "/etc/resolv.conf", remedy
    if not seen.machine.cgroup_v2:
        remedy = "boot with systemd.unified_cgroup_hierarchy=1"
        yield "uses cgroup v1, which Kubernetes is about to drop", seen.system, remedy
    ours = kernel_settings(seen.machine)
    for late in seen.late_settings:
        if (needed := ours.get(late.key, late.value)) != late.value:
            value, remedy = f"{late.key} = {late.value}", f"take it out there; {needed} is needed"
            yield f"has a kernel setting in {late.file} that overrules Kubekeel's", value, remedy
