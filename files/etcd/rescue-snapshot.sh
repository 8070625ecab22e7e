# Takes a snapshot from this host's etcd after the quorum is lost for good, and prints the snapshot's path.
# Without a quorum etcd does not serve, so this script starts a copy of its data as a cluster with one member.
# A copy of the database file alone is not enough: the latest writes may be only in the write-ahead log.
set -eu
umask 077
bin=/opt/kubekeel/bin pki=/etc/etcd/pki data=/var/lib/etcd snapshots=/var/lib/etcd-snapshots
copy=$snapshots/.rescue
snapshot=$snapshots/$(date -u +%Y-%m-%dT%H%M%SZ)-rescued.db
# etcd listens on sockets in the copy's folder, which only root and etcd's user may enter. etcdctl expects the name
# before the colon in the server's certificate.
client=unixs://localhost:0
# The number of tries once etcd has read its data, and, much larger, while it still reads them.
tries=60 loading=1800
# The KiB that the copy writes: two segments of its log.
log=131072

etcdctl() {
  $bin/etcdctl --endpoints=$client --cacert=$pki/ca.crt --cert=$pki/root.crt --key=$pki/root.key "$@" 2>&1
}

[ -e $data/member/snap/db ] || {
  echo "$data: has no data of etcd; choose another member by --limit" >&2
  exit 1
}
rm -rf $copy
needed=$(($(du -skL $data/member | cut -f 1) + $(du -kL $data/member/snap/db | cut -f 1) + log))
free=$(df -Pk $snapshots | awk 'NR == 2 {print $4}')
[ "$free" -ge "$needed" ] || {
  echo "$snapshots: has too little room for a copy of etcd's data and a snapshot of it" \
    "($((free / 1024)) MiB free, $((needed / 1024)) needed); make room there" >&2
  exit 1
}

rescue=
# shellcheck disable=SC2317,SC2329 # The trap calls it.
finish() {
  cd /
  if [ -n "$rescue" ]; then
    kill "$rescue" 2>/dev/null || true
    wait "$rescue" 2>/dev/null || true
  fi
  rm -rf "$copy" "$snapshot.part" || true
  systemctl start --no-block etcd.service
}
trap finish EXIT
# Without this, the shell would skip the EXIT trap when a signal ends it.
trap 'exit 1' HUP INT PIPE TERM
systemctl stop etcd.service
mkdir -p $copy/member
cp -a $data/member/. $copy/member/
chown -R etcd:etcd $copy
cd $copy
setpriv --reuid=etcd --regid=etcd --clear-groups $bin/etcd --force-new-cluster --name=rescue --data-dir=$copy \
  --listen-client-urls=$client --advertise-client-urls=$client --listen-peer-urls=unix://peer:0 \
  --cert-file=$pki/server.crt --key-file=$pki/server.key --trusted-ca-file=$pki/ca.crt --client-cert-auth \
  --enable-grpc-gateway=false >log 2>&1 &
rescue=$!
while [ $tries -gt 0 ] && [ $loading -gt 0 ]; do
  # `endpoint health` would fail for a member with an alarm, although it can give a snapshot.
  if etcdctl get health >/dev/null; then
    said=$(etcdctl snapshot save "$snapshot") || {
      echo "$said" | tail -n 3 >&2
      exit 1
    }
    chown etcd:etcd "$snapshot"
    echo "$snapshot"
    exit
  fi
  kill -0 "$rescue" 2>/dev/null || break
  if grep -q "ready to serve client requests" log; then tries=$((tries - 1)); else loading=$((loading - 1)); fi
  sleep 1
done
echo "etcd did not start on a copy of $data; the end of its log:" >&2
tail -n 5 log >&2
exit 1
