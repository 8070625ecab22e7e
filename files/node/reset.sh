# Takes off a host what a deploy, and the cluster since then, brought there: reset.sh HOST POD_NETWORK.
# Its packages, journal and running kernel settings stay. Each step may find its work done already. Has undo.sh before it.
set -u
host=$1 pod_network=$2
own=$(readlink -f /opt/kubekeel)
units="kubekeel-heal kubelet kube-proxy api-balancer etcd-snapshot.timer etcd-snapshot etcd flanneld containerd"

places="/opt/kubekeel /etc/kubekeel /etc/kubernetes /etc/etcd /etc/flannel /etc/containerd /var/lib/etcd /var/lib/etcd-snapshots
  /var/lib/etcd-replaced /var/lib/kubelet /var/lib/kube-proxy /var/lib/cni /var/lib/containerd /var/log/pods
  /var/log/containers /var/log/kubernetes /run/containerd /run/flannel /run/nri"

for unit in etcd-snapshot.timer etcd-snapshot etcd; do
  systemctl stop $unit 2>/dev/null
done
end_pods "$pod_network"

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

# Files
for folder in /usr/local/bin /opt/cni/bin; do
  find $folder -maxdepth 1 -type l -lname '/opt/kubekeel/*' -delete 2>/dev/null
done
rm -rf /etc/crictl.yaml /etc/cni/net.d/10-flannel.conflist* /etc/cni/net.d/.10-flannel* \
  /etc/modules-load.d/kubekeel.conf /etc/sysctl.d/90-kubekeel.conf /etc/sysctl.d/zz-kubekeel.conf \
  /etc/systemd/network/00-kubekeel.network /etc/NetworkManager/conf.d/kubekeel.conf \
  /etc/systemd/logind.conf.d/99-kubelet.conf /var/lib/systemd/timers/stamp-etcd-snapshot.timer "$HOME/.kube/cache"
# shellcheck disable=SC2086 # They have no spaces.
clear_away $places
for folder in /etc/cni/net.d /etc/cni /opt/cni/bin /opt/cni /opt/containerd/bin /opt/containerd/lib /opt/containerd \
    /etc/systemd/logind.conf.d /var/lib/systemd/timers /run/netns "$HOME/.kube"; do
  rmdir "$folder" 2>/dev/null
done
find /usr/libexec/kubernetes -depth -type d -empty -delete 2>/dev/null
! getent passwd etcd >/dev/null || userdel etcd

# What would not go is told.
left=$(
  # shellcheck disable=SC2086 # They have no spaces.
  remains $places
  left_of_pods
  for process in /proc/[0-9]*; do readlink "$process/exe" | grep "^$own/"; done 2>/dev/null
)
if [ -n "$left" ]; then
  echo "$host: not everything is gone ($(echo "$left" | tr '\n' ' ')); reboot it and reset again" >&2
  exit 1
fi
# Last: as long as something is left, a host tells whose it is.
rm -rf /etc/kubekeel
