# Restores a folder's snapshot.db into a temporary etcd, and counts the objects there: verify-snapshot.sh FOLDER BIN
# Only its owner may enter the folder. It has the certificates and keys of a server and of root:
# {ca,server,root}.{crt,key}.
set -eu
umask 077
cd "$1"
bin=$2

# etcd listens on sockets in this folder, and on no port. etcdctl expects the name before the colon in the server's
# certificate.
etcdctl() { "$bin/etcdctl" --endpoints=unixs://localhost:0 --cacert=ca.crt --cert=root.crt --key=root.key "$@"; }
# A kind may have many values.
read_all() { etcdctl --command-timeout=1h "$@" || : >unread; }
fail() {
  echo "$1; the end of etcd's log:" >&2
  tail -n 3 log >&2
  exit 1
}

etcd=
# shellcheck disable=SC2317 # The trap calls it.
finish() {
  [ -z "$etcd" ] || kill "$etcd" 2>/dev/null || true
  wait
  rm -rf data log unread
}
trap finish EXIT
trap 'exit 1' HUP INT PIPE TERM

echo "written $("$bin/etcdutl" snapshot status snapshot.db -w json)"
"$bin/etcdutl" snapshot restore snapshot.db --data-dir=data >log 2>&1 || fail "the snapshot cannot be restored"
"$bin/etcd" --data-dir=data --listen-client-urls=unixs://localhost:0 --advertise-client-urls=unixs://localhost:0 \
  --listen-peer-urls=unix://peer:0 --cert-file=server.crt --key-file=server.key --trusted-ca-file=ca.crt \
  --client-cert-auth --enable-grpc-gateway=false --quota-backend-bytes=17179869184 >log 2>&1 &
etcd=$!
# The number of tries once etcd has read its data, and, much larger, while it still reads them.
tries=60 loading=1800
until etcdctl get health >/dev/null 2>&1; do
  if grep -q "ready to serve client requests" log; then tries=$((tries - 1)); else loading=$((loading - 1)); fi
  { [ $tries -gt 0 ] && [ $loading -gt 0 ] && kill -0 "$etcd" 2>/dev/null; } ||
    fail "etcd does not serve the restored data"
  sleep 1
done
echo "served $(etcdctl endpoint status -w json)"

# A key names its kind by a word, or a custom kind by its group and a word: /registry/pods/..., /registry/x.io/foos/...
read_all get --prefix /registry/ --keys-only |
  awk -F / 'NF > 2 {print ($3 ~ /[.]/ || $3 == "services") ? $3 "/" $4 : $3}' | sort | uniq -c |
  while read -r count kind; do
    echo "objects $count $kind"
    # This reads all values, and prints the first encrypted one of each kind. Those begin with k8s:enc:PROVIDER:v1:KEY:
    read_all get --prefix "/registry/$kind/" -w fields | awk -v kind="$kind" '
      /^"Key" : / {key = substr($0, 10, length($0) - 10)}
      /^"Value" : "k8s:enc:/ {split($0, part, ":"); name = part[4] " " part[6]; first[name] = first[name] ? first[name] : key; n[name]++}
      END {for (name in n) print n[name], name, first[name]}' |
      while read -r count provider name key; do
        echo "encrypted $count $kind $provider $name $(read_all get "$key" --print-value-only | base64 | tr -d '\n')"
      done
  done
[ ! -e unread ] || fail "etcd does not return all restored data"
