# Functions that end pods and remove their mounts, devices and rules. Other scripts follow this one in the same shell.
# An earlier run may have done each step already.
bin=/opt/kubekeel/bin
unit_folders="/etc/systemd/system /run/systemd/system /usr/local/lib/systemd/system /usr/lib/systemd/system
  /lib/systemd/system"

mounts() { awk '{print $5}' /proc/self/mountinfo; }
# Prints the mounts below a folder, or below the target of a link.
mounted_below() {
  folder=$(readlink -e "$1") || return 0
  mounts | awk -v folder="$folder/" 'index($0, folder) == 1' | sort -r
}
# Whether a folder has its own disk, by a mount or a link. Such a folder existed before Kubekeel, and stays.
has_own_disk() { [ -L "$1" ] || mounts | grep -qxF "$(readlink -e "$1")"; }
# Unmounts a path, or detaches it if its server does not answer: a plain umount would then hang for ever.
unmount() {
  timeout -k 5 30 umount "$1" && return
  case $? in 124 | 137) echo "$1: does not unmount within 30 s: its server does not answer; detaching it" ;; esac
  timeout -k 5 30 umount --lazy --no-canonicalize "$1"
}
content() { find "$(readlink -e "$1")" -xdev -mindepth 1 ! -path '*/lost+found' ! -path '*/lost+found/*' "$2"; }
clear_away() {
  for place; do
    # A remaining mount may be a volume with a user's data.
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

# foreign UNIT: whether a service of this name is not Kubekeel's. systemd reads only the first file of a name.
foreign() {
  for root in $unit_folders; do
    [ ! -e "$root/$1.service" ] || { ! grep -q /opt/kubekeel/ "$root/$1.service"; return; }
  done
  return 1
}
# Whether another containerd is installed besides Kubekeel's: both keep their containers in the same folders.
shares_containerd() {
  for root in $unit_folders; do
    [ -s "$root/containerd.service" ] && ! grep -q /opt/kubekeel/ "$root/containerd.service" && return
  done
  return 1
}

# end_pods POD_NETWORK
end_pods() {
  # Stop the services that would restart pods; then end the pods while containerd can still remove their networks.
  for unit in kubekeel-heal kubelet kube-proxy kube-network-policies api-balancer; do
    systemctl stop $unit 2>/dev/null
  done
  shims='*/containerd.service/*' folders="/var/lib/containerd /run/containerd"
  if [ -S /run/containerd/containerd.sock ]; then
    timeout 120 $bin/crictl rmp --force --all >/dev/null 2>&1
    ! shares_containerd || timeout 120 $bin/crictl rmi --all >/dev/null 2>&1
  fi
  if shares_containerd; then shims=/ folders=""; fi
  systemctl stop flanneld containerd 2>/dev/null
  # Shims outlive containerd by design, and containers outlive their shims.
  find /sys/fs/cgroup -name cgroup.procs \( -path '*/kubepods*' -o -path "$shims" \) -exec cat {} + \
    2>/dev/null | sort -u | xargs -r kill -9 2>/dev/null
  # With cgroup v2, slices of pods outlive kubelet until the host boots.
  systemctl stop kubepods.slice 2>/dev/null

  # Unmount only below these folders: a folder itself may be the mount of its own disk.
  for folder in /var/lib/kubelet $folders /run/netns /var/lib/kube-proxy; do
    for target in $(mounts_of_pods "$folder"); do
      unmount "$target"
    done
  done
  find /run/netns -mindepth 1 ! -name 'cni-*' 2>/dev/null | grep -q . || umount /run/netns 2>/dev/null

  for link in cni0 flannel.1; do
    ip link delete $link 2>/dev/null
  done
  ip route flush root "$1" 2>/dev/null
  remove_rules 'kube-proxy|kube-network-policies|flannel-ipv[46]|cni_hostport' 'KUBE-|FLANNEL-|CNI-|flanneld'
}

# remove_rules TABLES CHAINS, both extended regular expressions: removes nftables' tables, chains of iptables in tables
# that others share, and then the shared tables that are empty.
remove_rules() {
  if command -v nft >/dev/null; then
    nft list tables 2>/dev/null | grep -E " ($1)\$" | while read -r _ family table; do
      nft delete table "$family" "$table"
    done
  fi
  for family in iptables ip6tables; do
    command -v $family-save >/dev/null || continue
    if $family-save 2>/dev/null | grep -qE "$2"; then
      $family-save | grep -vE "$2" | $family-restore
    fi
  done
  if command -v nft >/dev/null; then
    nft list tables 2>/dev/null | grep -E ' ip6? (mangle|filter|nat|raw)$' | while read -r _ family table; do
      nft list table "$family" "$table" 2>/dev/null |
        grep -qvE '^(table .*|[[:space:]]*(chain [A-Z]+ [{]|type .* policy accept;|[}])|# .*)?$' ||
        nft delete table "$family" "$table"
    done
  fi
}

# Prints the mounts below a folder, without network namespaces that are not of pods.
mounts_of_pods() { mounted_below "$1" | awk '!/^\/run\/netns\// || /^\/run\/netns\/cni-/'; }

left_of_pods() {
  for folder in /var/lib/kubelet /run/netns; do mounts_of_pods $folder; done
  shares_containerd || for folder in /var/lib/containerd /run/containerd; do mounted_below $folder; done
  ip -brief link | grep -E '^(cni0|flannel\.1) '
}
