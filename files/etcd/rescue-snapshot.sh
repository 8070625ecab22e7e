# Takes a snapshot of what this host's etcd has on its disk, for when most of the other members are lost for good and it
# serves no more: a copy of the data is started as a cluster of one. Prints the snapshot's path.
# A copy of the database alone would not do: what was acknowledged last may be in the write-ahead log only.
set -eu
umask 077
bin=/opt/kubekeel/bin pki=/etc/etcd/pki data=/var/lib/etcd snapshots=/var/lib/etcd-snapshots
copy=$snapshots/.rescue
snapshot=$snapshots/$(date -u +%Y-%m-%dT%H%M%SZ)-rescued.db
# Sockets in the copy's folder, which only root and etcd's user may enter. The server's certificate is checked for what
# stands before the colon.
client=unixs://localhost:0
# Rounds for an etcd that has read its data, and, much more, for one that still reads them.
tries=60 loading=1800
# KiB that the copy writes: two segments of its log.
log=131072

etcdctl() {
  $bin/etcdctl --endpoints=$client --cacert=$pki/ca.crt --cert=$pki/root.crt --key=$pki/root.key "$@" 2>&1
}

[ -e $data/member/snap/db ] || {
  echo "$data: holds no data of etcd; choose another member by --limit" >&2
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
# A shell that a signal ends leaves its EXIT trap out.
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
  # Not by `endpoint health`, for which a member with an alarm is ill.
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
echo "etcd did not start on a copy of $data; what it said last:" >&2
tail -n 5 log >&2
exit 1
