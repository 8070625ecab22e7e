# Removes from a host what a deploy and its cluster brought there: reset.sh HOST POD_NETWORK. Needs undo.sh's functions.
# Packages, the journal and running kernel settings stay. So do services of others that have the same names as
# Kubekeel's, with their files. An earlier run may have done each step already.
set -u
host=$1 pod_network=$2
own=$(readlink -f /opt/kubekeel)
# Reset removes /etc/kubekeel last, so a host without these two folders has nothing of Kubekeel.
[ -e /etc/kubekeel ] || [ -e /opt/kubekeel ] || exit 0
mkdir -p /etc/kubekeel

units="" places="/opt/kubekeel"
if ! foreign kubelet; then
  units="kubekeel-vip kubekeel-kube-proxy-metrics kubekeel-etcd-metrics kubekeel-heal kubelet kube-proxy"
  units="$units kube-network-policies api-balancer"
  places="$places /etc/kubernetes /var/lib/kubelet /var/lib/kube-proxy /var/log/kubernetes"
fi
if ! foreign etcd; then
  units="$units etcd-snapshot.timer etcd-snapshot etcd"
  places="$places /etc/etcd /var/lib/etcd /var/lib/etcd-snapshots /var/lib/etcd-replaced"
fi
if ! foreign containerd; then
  units="$units flanneld containerd"
  places="$places /etc/crictl.yaml /etc/flannel /var/lib/cni /var/log/pods /var/log/containers /run/flannel /var/lib/flannel /run/nri"
  if shares_containerd; then
    places="$places /etc/containerd/config.toml"
  else
    places="$places /etc/containerd /var/lib/containerd /run/containerd"
  fi
fi

for unit in kubekeel-vip kubekeel-kube-proxy-metrics kubekeel-etcd-metrics etcd-snapshot.timer etcd-snapshot etcd; do
  case " $units " in *" $unit "*) systemctl stop $unit 2>/dev/null ;; esac
done
foreign containerd || end_pods "$pod_network"
for unit in $units; do
  systemctl disable --quiet "$unit" 2>/dev/null
done

# Files
for folder in /usr/local/bin /opt/cni/bin; do
  find $folder -maxdepth 1 -type l -lname '/opt/kubekeel/*' -delete 2>/dev/null
done
rm -rf /etc/cni/net.d/10-flannel.conflist* /etc/cni/net.d/.10-flannel* \
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
# Earlier versions made the user without a comment.
case $(getent passwd etcd | cut -d : -f 5) in
  Kubekeel) userdel etcd ;;
  '') ! getent passwd etcd >/dev/null || foreign etcd || userdel etcd ;;
esac

# Name what could not be removed.
left=$(
  # shellcheck disable=SC2086 # They have no spaces.
  remains $places
  foreign containerd || left_of_pods
  for process in /proc/[0-9]*; do readlink "$process/exe" | grep "^$own/"; done 2>/dev/null
)
if [ -n "$left" ]; then
  remedy="unmount the disks that /etc/fstab mounts there, reboot it, and reset again"
  echo "$host: not everything is gone ($(echo "$left" | tr '\n' ' ')); $remedy" >&2
  exit 1
fi
# These unit files show that the services' folders are Kubekeel's, so they go after those folders.
for unit in $units; do
  rm -f /etc/systemd/system/"${unit%.timer}".service /etc/systemd/system/"${unit%.timer}".timer
done
systemctl daemon-reload
for unit in $units; do
  systemctl reset-failed "$unit" 2>/dev/null
done
# This goes last: while anything is left, it shows whose the host is.
rm -rf /etc/kubekeel
