# Prints a host's hardware and kernel: a word on each line, and its value if it has one.
echo "hostname $(cat /proc/sys/kernel/hostname)"
echo "arch $(uname -m)"
echo "memory $(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo)"
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && echo cgroup_v2
# CAP_SYS_RESOURCE, the 25th, as what services of this host may have.
[ $(( 0x$(awk '/^CapBnd/ {print $2}' /proc/self/status) >> 24 & 1 )) = 1 ] && echo lowers_oom_score
[ -w /proc/sys/vm/overcommit_memory ] && echo kernel_settings
# Before its module is loaded there is no file of conntrack's own; as these limits, this one is the whole computer's.
[ -w /proc/sys/net/core/rmem_max ] && echo conntrack_limits
[ -d /etc/NetworkManager/conf.d ] && echo network_manager
command -v zstd >/dev/null && echo zstd
case "$(stat -fc %T "$(for d in /var/lib/containerd /var/lib /; do [ -d $d ] && echo $d && break; done)")" in
  overlayfs) ;; *) echo overlay_snapshots ;;
esac
# A name server at a loopback address is of no use in a pod, where it is the pod itself: CoreDNS would ask itself.
# Of a resolver like systemd-resolved there is a file with those that it asks.
name_servers() { sed -n 's/^[[:space:]]*nameserver[[:space:]]*\([^[:space:]]*\).*/\1/p' "$1"; }
usable() { name_servers "$1" | grep -vE '^(127\.|.*:)'; }
for file in /etc/resolv.conf /run/systemd/resolve/resolv.conf; do
  [ -n "$(usable $file)" ] && ! name_servers $file | grep -qE '^(127\.|::1$)' && echo "resolv_conf $file" && break
done || { echo resolv_conf; echo "name_servers $(usable /etc/resolv.conf | tr '\n' ' ')"; }
true
