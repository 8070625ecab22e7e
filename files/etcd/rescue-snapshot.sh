# Takes a snapshot of what this host's etcd has on its disk, for when most of the other members are lost for good and it
# serves no more: a copy of the data is started as a cluster of one. Prints the snapshot's path.
set -eu
umask 077
bin=/opt/kubekeel/bin pki=/etc/etcd/pki snapshots=/var/lib/etcd-snapshots
copy=$snapshots/.rescue
snapshot=$snapshots/$(date -u +%Y-%m-%dT%H%M%SZ)-rescued.db
client=https://127.0.0.1:23790

etcdctl() {
  $bin/etcdctl --endpoints=$client --cacert=$pki/ca.crt --cert=$pki/root.crt --key=$pki/root.key "$@" 2>&1
}

systemctl stop etcd.service
trap 'kill $! 2>/dev/null || true; rm -rf $copy $snapshot.part; systemctl start --no-block etcd.service' EXIT
rm -rf $copy
mkdir $copy
cp -a /var/lib/etcd/member $copy/
chown -R etcd:etcd $copy
runuser -u etcd -- $bin/etcd --force-new-cluster --name=rescue --data-dir=$copy \
  --listen-client-urls=$client --advertise-client-urls=$client --listen-peer-urls=http://127.0.0.1:23800 \
  --cert-file=$pki/server.crt --key-file=$pki/server.key --trusted-ca-file=$pki/ca.crt --client-cert-auth \
  >$copy/log 2>&1 &
for _ in $(seq 60); do
  if etcdctl endpoint health >/dev/null; then
    etcdctl snapshot save $snapshot >/dev/null
    chown etcd:etcd $snapshot
    echo $snapshot
    exit
  fi
  sleep 1
done
tail -n 5 $copy/log >&2
exit 1
