# Prints what the status of a host has besides its units and files: on each line a word, then a tab and its value.
# shellcheck disable=SC2044,SC2086 # A word for each argument; no path has spaces.
: "${etcdctl?}" "${kubectl?}" "${timer?}" "${rooms?}" "${mark?}" "${resumed_within?}" "${drained?}"
for file in $(find -H /etc/kubernetes /etc/etcd/pki /etc/flannel/pki -name '*.crt'); do
  printf 'certificate\t%s\t%s\n' $file "$(base64 -w 0 $file)"
done
if [ -e /etc/etcd/pki/root.key ]; then
  timeout 30 $etcdctl endpoint status -w json | sed 's/^/etcd\t/'
  timeout 30 $etcdctl alarm list | sed 's/^/alarm\t/'
  timeout 30 $etcdctl member list -w json | sed 's/^/members\t/'
  timeout 30 $etcdctl endpoint health --cluster -w json | sed 's/^/health\t/'
fi
find -H /var/lib/etcd-snapshots -name '[!.]*.db' -type f -printf 'snapshot\t%T@\n'
systemctl is-failed --quiet etcd-snapshot.service && echo snapshot_failed
find "/etc/systemd/system/$timer" -printf 'timer\t%T@\n'
printf 'now\t%s\n' "$(date +%s)"
sed -n 's/^Mem\(Total\|Available\):/memory\t&/p' /proc/meminfo
df -k --output=size,avail,target $rooms | sed -n '2,$s/^/disk\t/p'
find "$mark" -mmin "-$resumed_within" -printf 'restart\t\n'
if [ -e /etc/kubernetes/admin.conf ]; then
  timeout 30 $kubectl get nodes -l "$drained" -o name --request-timeout=20s | sed 's,^node/,drained\t,'
fi
