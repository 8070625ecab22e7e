"""Whether a host's system and its resources are enough for its roles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from kubekeel.cluster import Cluster, Node
from kubekeel.machine import OWN_RESOLV_CONF
from kubekeel.needs import has_flannel, has_network_policies, holds_api_vip, relays_metrics, runs_pods
from kubekeel.preflight.seen import Finding, HostSeen, Room, listed
from kubekeel.render import kernel_settings

COMMANDS = (
    *("awk", "base64", "find", "flock", "getent", "grep", "gunzip", "ip", "sed", "sha256sum", "ss", "sysctl", "tar"),
    *("timeout", "useradd", "xargs"),
)
"""The commands that Kubekeel runs on a host and does not install."""

PACKAGE_MANAGERS = ("apt-get", "dnf", "zypper")
PACKAGES = {
    # flanneld removes the rules of the other mode first, and does not start without iptables.
    "nftables": {"nft": "nftables", "iptables": "iptables", "ip6tables": "iptables", "modprobe": "kmod"},
    "iptables": {"iptables": "iptables", "ip6tables": "iptables", "modprobe": "kmod"},
}
"""The commands that Kubekeel installs if they are missing, with their packages, by `kube_proxy_mode`."""

_KMOD = {"modprobe": "kmod"}
_NFT = {"nft": "nftables"}
_KEEPALIVED = {"keepalived": "keepalived", "curl": "curl"}
_SOCAT = {"socat": "socat"}
INSTALLED = (*PACKAGES["nftables"], *_KEEPALIVED, *_SOCAT)
"""All commands that Kubekeel installs on some host."""

DOWNLOADERS = ("curl", "wget")
"""The commands with which a host itself can fetch artifacts; it needs one."""


def packages(node: Node, cluster: Cluster) -> Mapping[str, str]:
    """Return the commands that Kubekeel installs on a host if they are missing, with their packages."""
    wanted = PACKAGES[cluster.kube_proxy_mode] if cluster.kube_proxy_mode else _KMOD
    return {
        **wanted,
        **(_NFT if has_network_policies(node, cluster) else {}),
        **(_KEEPALIVED if holds_api_vip(node, cluster) else {}),
        **(_SOCAT if relays_metrics(node, cluster) else {}),
    }


NAMED_OTHERWISE = {"dnf": {"iptables": "iptables-nft"}}
"""Packages with other names than Debian's, by package manager."""

QUEUE_MODULES = ("nfnetlink_queue", "nft_queue")
"""The kernel modules that pass packets to the engine of network policies."""
_VXLAN = "vxlan"


def kernel_modules(node: Node, cluster: Cluster) -> frozenset[str]:
    """Return the kernel modules that a node needs and that some kernels lack."""
    wanted = set(QUEUE_MODULES) if has_network_policies(node, cluster) else set()
    if has_flannel(node, cluster) and cluster.flannel_backend == "vxlan":
        wanted.add(_VXLAN)
    return frozenset(wanted)


DISKS = {"/opt/kubekeel": 1024, "/var/lib/containerd": 2048}
"""The free MiB that a first run needs, by folder; later runs need room for new files, and a reserve."""

FOLDERS = (
    *("/etc/cni", "/etc/containerd", "/etc/etcd", "/etc/flannel", "/etc/kubernetes", "/opt/cni", "/opt/kubekeel"),
    *("/var/lib/cni", "/var/lib/containerd", "/var/lib/etcd", "/var/lib/etcd-snapshots", "/var/lib/kubelet"),
    *("/var/lib/kube-proxy", "/var/log/kubernetes", "/var/log/pods"),
)
"""The folders that users replace with links to another place."""

_IMAGES, _PODS, _ETCD, _PROGRAMS = "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd", "/opt/kubekeel"
ROOMS = (_IMAGES, _PODS, _ETCD, _PROGRAMS)
"""The folders whose file systems are checked."""

# File systems by stat's names: the ones on other hosts are too slow for etcd, and overlays work on none of these.
_ELSEWHERE = frozenset({"nfs", "smb", "smb2", "cifs", "ceph", "afs", "gpfs", "lustre", "fuse", "fuseblk", "v9fs"})
_NO_OVERLAYS = _ELSEWHERE | {"msdos", "exfat", "ecryptfs"}
# kubelet's thresholds for evictions in percent (its documentation on node-pressure eviction).
_KEPT_FREE = {_IMAGES: 15, _PODS: 10}
_KEPT_INODES = 5

_OLDEST_SYSTEMD = 248
_CONTROLLERS = frozenset({"cpu", "cpuset", "memory", "pids"})
_SPARE_DISK = 256
_CLOCK_TOLERANCE = 10


def system_faults(node: Node, cluster: Cluster, seen: HostSeen) -> Iterator[Finding]:
    if not seen.systemd:
        yield "does not run systemd", seen.system, "take a distribution with systemd, like Debian or Ubuntu"
    elif seen.systemd < _OLDEST_SYSTEMD:
        yield "has too old a systemd", seen.systemd, f"upgrade the distribution to {_OLDEST_SYSTEMD} or newer"
    nftables = cluster.kube_proxy_mode == "nftables"
    if nftables and _version(seen.kernel) < (5, 13):
        remedy = 'boot 5.13 or newer, or set kube_proxy_mode = "iptables"'
        yield "has too old a kernel for nftables", seen.kernel, remedy
    elif _version(seen.kernel) < (4, 19):
        yield "has too old a kernel", seen.kernel, "boot 4.19 or newer"
    if seen.machine.arch != node.arch:
        yield f"does not match its arch {node.arch}", seen.machine.arch, "correct arch in the inventory"
    if lacking := _CONTROLLERS - seen.controllers:
        yield "lacks cgroup controllers", listed(lacking), "enable them on the kernel's command line"
    if seen.off_path:
        remedy = "add their folders to the login's PATH, or to sudo's secure_path"
        yield "has commands that are not on the PATH", listed(seen.off_path), remedy
    if lacking := frozenset(COMMANDS) - seen.commands:
        yield "lacks commands", listed(lacking), "install them"
    installable = packages(node, cluster).keys()
    if cluster.artifact_delivery == "pull" and not (seen.commands | installable).intersection(DOWNLOADERS):
        remedy = 'install one of them, or set artifact_delivery = "push"'
        yield "has nothing to fetch artifacts with", f"neither {' nor '.join(DOWNLOADERS)}", remedy
    if seen.modules_gone:
        remedy = "reboot it: a package upgrade replaced the modules of the running kernel"
        yield "runs a kernel whose modules are gone", seen.kernel, remedy
    modules = kernel_modules(node, cluster) & seen.modules_lacking
    if queue := modules & set(QUEUE_MODULES):
        remedy = "boot a kernel that has them, or set network_policy = None"
        yield "lacks kernel modules for network policies", listed(queue), remedy
    # For a container, the kernel of its machine loads it.
    if _VXLAN in modules and not seen.container:
        remedy = 'install the kernel\'s extra modules (linux-modules-extra-raspi), or set flannel_backend = "host-gw"'
        yield "lacks the kernel module of the pod network", _VXLAN, remedy
    if runs_pods(node) and not seen.kmsg:
        yield "has no /dev/kmsg, without which kubelet does not start", seen.system, "give it that device"
    lacking = frozenset(installable) - seen.commands
    if lacking and not seen.commands.intersection(PACKAGE_MANAGERS):
        managers = ", ".join(PACKAGE_MANAGERS)
        yield f"lacks commands, and none of {managers} to install them", listed(lacking), "install them by hand"


def _version(kernel: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", kernel)[:2]))


def resource_faults(node: Node, seen: HostSeen, arriving: Mapping[str, int]) -> Iterator[Finding]:
    for swap in seen.swaps:
        remedy = (
            "run swapoff -a, and remove the swap from /etc/fstab, or the program that makes it, like zram-generator"
        )
        yield "has swap, and kubelet refuses to start with it", swap, remedy
    # kubeadm's limits.
    memory = 1700 if "masters" in node.roles else 700
    if seen.machine.memory < memory:
        yield f"has less than {memory} MiB of memory", f"{seen.machine.memory} MiB", "give it more memory"
    for folder, free in seen.disks.items():
        wanted = _SPARE_DISK + arriving.get(folder, 0) if seen.installed else DISKS[folder]
        if free < wanted:
            yield f"has less than {wanted} MiB free in {folder}", f"{free} MiB", "make room"
    yield from _room_faults(node, seen)
    if seen.is_bare:
        yield from _pressures(node, seen, arriving)
    for folder, leads_to in seen.astray.items():
        yield f"has a link at {folder} that does not lead to a folder", leads_to, "mount its target, or remove it"
    if abs(seen.clock_off) > _CLOCK_TOLERANCE:
        way = "ahead of" if seen.clock_off > 0 else "behind"
        yield f"has a clock {way} this machine's", f"{abs(seen.clock_off):.0f} s", "synchronize both by NTP"


def _rooms(node: Node, seen: HostSeen) -> Iterator[tuple[str, Room]]:
    """Return the file systems that the node's roles use, with their folders."""
    used = {_ETCD: "etcd" in node.roles, _PROGRAMS: True}
    return ((folder, room) for folder, room in seen.rooms.items() if used.get(folder, runs_pods(node)))


def _room_faults(node: Node, seen: HostSeen) -> Iterator[Finding]:
    if seen.read_only:
        yield "has folders that are not writable", listed(seen.read_only), "mount them writable, or take another host"
    for folder, room in _rooms(node, seen):
        if folder in (_IMAGES, _PROGRAMS) and "noexec" in room.options:
            yield f"cannot start programs in {folder}", "mounted noexec", "mount it without noexec"
        if folder == _IMAGES and room.kind in _NO_OVERLAYS:
            yield f"has a file system in {folder} that containers cannot use", room.kind, "take ext4 or xfs for it"
        if folder == _IMAGES and room.typeless:
            remedy = "make it with mkfs.xfs -n ftype=1"
            yield f"has a file system in {folder} that containers cannot use", f"{room.kind} with ftype=0", remedy
        if folder == _ETCD and room.kind in _ELSEWHERE:
            yield f"has a file system in {folder} that is on another host", room.kind, "give etcd a disk of this host"


def _pressures(node: Node, seen: HostSeen, arriving: Mapping[str, int]) -> Iterator[Finding]:
    """Yield the shortages for which kubelet would evict pods."""
    for folder, room in _rooms(node, seen):
        kept, free = _KEPT_FREE.get(folder, 0), max(room.free - arriving.get(_IMAGES, 0), 0)
        if free * 100 < kept * room.size:
            value = f"{free * 100 // room.size} % of {room.size} MiB"
            yield f"is short of room in {folder}: kubelet keeps {kept} % free", value, "make room, or it evicts pods"
        if kept and room.free_inodes * 100 < _KEPT_INODES * room.inodes:
            value = f"{room.free_inodes} of {room.inodes}"
            problem = f"is short of inodes in {folder}: kubelet keeps {_KEPT_INODES} % free"
            yield problem, value, "make room, or it evicts pods"


def warnings(node: Node, seen: HostSeen) -> Iterator[Finding]:
    if not seen.is_bare:
        yield from _pressures(node, seen, {})
    if seen.processors == 1 and "masters" in node.roles:
        yield "has one processor for a control plane", seen.system, "give it two processors, as kubeadm requires"
    if seen.clock_alone:
        remedy = "install chrony or systemd-timesyncd; etcd's leases and certificates depend on clocks"
        yield "does not synchronize its clock", seen.system, remedy
    if seen.selinux:
        yield "enforces SELinux, which is not tested", seen.system, "run setenforce 0 if programs do not start"
    if seen.machine.resolv_conf == OWN_RESOLV_CONF and not seen.machine.name_servers:
        remedy = "pods find only the cluster's own names; name one in /etc/resolv.conf that is not a loopback address"
        yield "has no name server that pods can use", "/etc/resolv.conf", remedy
    if not seen.machine.cgroup_v2:
        remedy = "boot with systemd.unified_cgroup_hierarchy=1"
        yield "uses cgroup v1, which Kubernetes is about to drop", seen.system, remedy
    ours = kernel_settings(seen.machine)
    for late in seen.late_settings:
        if (needed := ours.get(late.key, late.value)) != late.value:
            value, remedy = f"{late.key} = {late.value}", f"remove it there; {needed} is needed"
            yield f"has a kernel setting in {late.file} that overrides Kubekeel's", value, remedy
