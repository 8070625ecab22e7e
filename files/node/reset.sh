# Takes off a host what a deploy, and the cluster since then, brought there: reset.sh HOST POD_NETWORK.
# Its packages, journal and running kernel settings stay. Each step may find its work done already.
set -u
host=$1 pod_network=$2
bin=/opt/kubekeel/bin own=$(readlink -f /opt/kubekeel)
units="kubekeel-heal kubelet kube-proxy api-balancer etcd-snapshot.timer etcd-snapshot etcd flanneld containerd"

mounts() { awk '{print $5}' /proc/self/mountinfo; }
# What is mounted somewhere below a folder, or below what that is a link to.
mounted_below() {
  folder=$(readlink -e "$1") || return 0
  mounts | awk -v folder="$folder/" 'index($0, folder) == 1' | sort -r
}
# Whether a folder has a disk of its own, by a mount or a link; that was there before, and stays.
has_own_disk() { [ -L "$1" ] || mounts | grep -qxF "$(readlink -e "$1")"; }
content() { find "$(readlink -e "$1")" -xdev -mindepth 1 ! -path '*/lost+found' ! -path '*/lost+found/*' "$2"; }
clear_away() {
  for place; do
    # What could not be unmounted is somebody's volume.
    if [ ! -e "$place" ] || [ -n "$(mounted_below "$place")" ]; then
      continue
    elif [ -d "$place" ] && has_own_disk "$place"; then
      content "$place" -delete
      chown root:root "$place"
      chmod 755 "$place"
    else
      rm -rf --one-file-system "$place"
    fi
  done
}
remains() {
  for place; do
    [ ! -e "$place" ] || { has_own_disk "$place" && [ -z "$(content "$place" -print)" ]; } || echo "$place"
    mounted_below "$place"
  done
}

places="/opt/kubekeel /etc/kubekeel /etc/kubernetes /etc/etcd /etc/flannel /etc/containerd /var/lib/etcd /var/lib/etcd-snapshots
  /var/lib/etcd-replaced /var/lib/kubelet /var/lib/kube-proxy /var/lib/cni /var/lib/containerd /var/log/pods
  /var/log/containers /var/log/kubernetes /run/containerd /run/flannel /run/nri"

# Pods: first nobody who would start them again, then they, while there is still who takes their networks down.
for unit in kubekeel-heal kubelet kube-proxy api-balancer etcd-snapshot.timer etcd-snapshot etcd; do
  systemctl stop $unit 2>/dev/null
done
if [ -S /run/containerd/containerd.sock ]; then
  timeout 120 $bin/crictl rmp --force --all >/dev/null 2>&1
fi
systemctl stop flanneld containerd 2>/dev/null
# Shims outlive containerd by design, and containers their shims.
find /sys/fs/cgroup -name cgroup.procs \( -path '*/kubepods*' -o -path '*/containerd.service/*' \) -exec cat {} + \
  2>/dev/null | sort -u | xargs -r kill -9 2>/dev/null

# Units
for unit in $units; do
  systemctl disable --quiet "$unit" 2>/dev/null
done
for unit in $units; do
  rm -f /etc/systemd/system/"${unit%.timer}".service /etc/systemd/system/"${unit%.timer}".timer
done
systemctl daemon-reload
for unit in $units; do
  systemctl reset-failed "$unit" 2>/dev/null
done

# Mounts, below folders only
for folder in /var/lib/kubelet /var/lib/containerd /run/containerd /run/netns /var/lib/kube-proxy; do
  for target in $(mounted_below $folder); do
    umount "$target" || umount -l "$target"
  done
done
[ -n "$(find /run/netns -mindepth 1 -maxdepth 1 ! -name 'cni-*' 2>/dev/null)" ] || umount /run/netns 2>/dev/null

# Networks
for link in cni0 flannel.1; do
  ip link delete $link 2>/dev/null
done
ip route flush root "$pod_network" 2>/dev/null

# Rules of the kernel: tables of ours, chains of ours in tables that others share, and tables left empty by that.
if command -v nft >/dev/null; then
  nft list tables 2>/dev/null | grep -E ' (kube-proxy|flannel-ipv[46]|cni_hostport)$' | while read -r _ family table; do
    nft delete table "$family" "$table"
  done
fi
for family in iptables ip6tables; do
  command -v $family-save >/dev/null || continue
  if $family-save 2>/dev/null | grep -qE 'KUBE-|FLANNEL-|CNI-'; then
    $family-save | grep -vE 'KUBE-|FLANNEL-|CNI-|flanneld' | $family-restore
  fi
done
if command -v nft >/dev/null; then
  nft list tables 2>/dev/null | grep -E ' ip6? (mangle|filter|nat|raw)$' | while read -r _ family table; do
    nft list table "$family" "$table" 2>/dev/null |
      grep -qvE '^(table .*|[[:space:]]*(chain [A-Z]+ [{]|type .* policy accept;|[}])|# .*)?$' ||
      nft delete table "$family" "$table"
  done
fi

# Files
for folder in /usr/local/bin /opt/cni/bin; do
  find $folder -maxdepth 1 -type l -lname '/opt/kubekeel/*' -delete 2>/dev/null
done
rm -rf /etc/crictl.yaml /etc/cni/net.d/10-flannel.conflist* /etc/cni/net.d/.10-flannel* \
  /etc/modules-load.d/kubekeel.conf /etc/sysctl.d/90-kubekeel.conf /etc/sysctl.d/zz-kubekeel.conf \
  /etc/systemd/network/00-kubekeel.network /etc/NetworkManager/conf.d/kubekeel.conf \
  /var/lib/systemd/timers/stamp-etcd-snapshot.timer "$HOME/.kube/cache"
# shellcheck disable=SC2086 # They have no spaces.
clear_away $places
for folder in /etc/cni/net.d /etc/cni /opt/cni/bin /opt/cni /opt/containerd/bin /opt/containerd/lib /opt/containerd \
    /var/lib/systemd/timers /run/netns "$HOME/.kube"; do
  rmdir "$folder" 2>/dev/null
done
find /usr/libexec/kubernetes -depth -type d -empty -delete 2>/dev/null
! getent passwd etcd >/dev/null || userdel etcd

# What would not go is told.
left=$(
  mounted_below /run/netns
  # shellcheck disable=SC2086 # They have no spaces.
  remains $places
  ip -brief link | grep -E '^(cni0|flannel\.1) '
  for process in /proc/[0-9]*; do readlink "$process/exe" | grep "^$own/"; done 2>/dev/null
)
if [ -n "$left" ]; then
  echo "$host: not everything is gone ($(echo "$left" | tr '\n' ' ')); reboot it and reset again" >&2
  exit 1
fi
# Last: as long as something is left, a host tells whose it is.
rm -rf /etc/kubekeel
