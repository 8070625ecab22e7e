# Prints etcd's members as this host sees them, and why its own one may not serve.
: "${etcdctl?}"

$etcdctl member list --consistency=s 2>/dev/null
$etcdctl endpoint health --cluster 2>/dev/null
journalctl -u etcd.service -n 200 --no-pager -o cat | grep -q 'permanently removed from the cluster' &&
  echo 'This host was removed from etcd and still has its data: actions/remove_member.py for it, then deploy again.'
$etcdctl alarm list 2>/dev/null | grep -q NOSPACE &&
  echo 'etcd has no room left: actions/defragment.py.'
$etcdctl alarm list 2>/dev/null | grep -q CORRUPT &&
  echo 'A member of etcd has other data than the others; actions/status.py names it.'
echo 'etcd serves once most of its members run. If they are gone for good: actions/backup.py, then actions/restore.py.'
