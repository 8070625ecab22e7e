"""What a host is like, looked up once per run."""

from __future__ import annotations

from collections.abc import Mapping

from kubekeel.machine import Machine

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

LOOK = r"""
echo "hostname $(cat /proc/sys/kernel/hostname)"
echo "arch $(uname -m)"
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && echo cgroup_v2
# CAP_SYS_RESOURCE, the 25th, as what services of this host may have.
[ $(( 0x$(awk '/^CapBnd/ {print $2}' /proc/self/status) >> 24 & 1 )) = 1 ] && echo lowers_oom_score
[ -w /proc/sys/vm/overcommit_memory ] && echo kernel_settings
[ -w /proc/sys/net/netfilter/nf_conntrack_max ] && echo conntrack_limits
case "$(stat -fc %T "$(for d in /var/lib/containerd /var/lib /; do [ -d $d ] && echo $d && break; done)")" in
  overlayfs) ;; *) echo overlay_snapshots ;;
esac
# systemd-resolved's own address is of no use in a pod, and makes DNS ask itself: there is a file with the real ones.
if grep -q '^nameserver 127\.0\.0\.53' /etc/resolv.conf; then
  echo resolv_conf /run/systemd/resolve/resolv.conf
else
  echo resolv_conf /etc/resolv.conf
fi
true
"""
"""Prints a word on each line, and what there is to say to it."""


def machine(words: Mapping[str, str]) -> Machine:
    """The machine that `LOOK` printed these words about."""
    return Machine(
        hostname=words["hostname"],
        arch=_ARCHITECTURES.get(words["arch"], words["arch"]),
        cgroup_v2="cgroup_v2" in words,
        lowers_oom_score="lowers_oom_score" in words,
        kernel_settings="kernel_settings" in words,
        conntrack_limits="conntrack_limits" in words,
        overlay_snapshots="overlay_snapshots" in words,
        resolv_conf=words["resolv_conf"],
    )
