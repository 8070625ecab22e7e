#!/bin/sh
# Takes a snapshot of this host's etcd and keeps it if it is sound; of all of them it keeps the newest five, or fewer,
# so that twice what a snapshot takes stays free: the disk is usually etcd's own.
set -eu
umask 077
cd /var/lib/etcd-snapshots
keep=5

etcd() {
  etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/pki/ca.crt \
    --cert="$CREDENTIALS_DIRECTORY/root.crt" --key="$CREDENTIALS_DIRECTORY/root.key" "$@"
}
kept() { find . -maxdepth 1 -name '*.db' ! -name '.*' | sort; }
free() { df -Pk . | awk 'NR == 2 {print $4}'; }
thin() {
  # shellcheck disable=SC2046 # Their names are times.
  set -- $(kept)
  while [ $# -gt $keep ] || { [ $# -gt 1 ] && [ "$(free)" -lt "$needed" ]; }; do
    rm "$1"
    shift
  done
}

# The hidden ones are not whole: of a run that was cut short, this one's, and of a rescue (rescue-snapshot.sh) the copy.
rm -f .new.db*
find . -maxdepth 1 -name .rescue -mmin +60 -exec rm -rf {} + || true
trap 'rm -f .new.db*' EXIT

size=$(etcd endpoint status -w json | sed -n 's/.*"dbSize":\([0-9]*\).*/\1/p')
[ -n "$size" ] || exit 1
needed=$((2 * size / 1024))
# All but the newest may go for it.
spare=$(kept | sed '$d' | xargs -r du -k | awk '{sum += $1} END {print sum + 0}')
if [ $(($(free) + spare)) -lt $needed ]; then
  echo "$(pwd): has too little room for a snapshot ($(($(free) / 1024)) MiB free, $((needed / 1024)) needed);" \
    "make room on this disk, or link this folder to another one" >&2
  exit 1
fi
thin
etcd snapshot save .new.db >/dev/null
# etcd ends a snapshot with the sha256 of all before that.
said=$(tail -c 32 .new.db | od -An -v -tx1 | tr -d ' \n')
found=$(head -c -32 .new.db | sha256sum | cut -d ' ' -f 1)
if [ "$said" != "$found" ]; then
  echo "$(pwd): the snapshot is damaged (sha256 $found, not $said); look at the disk, and at etcd's own log" >&2
  exit 1
fi
etcdutl snapshot status .new.db
sync .new.db
mv .new.db "$(date -u +%Y-%m-%dT%H%M%SZ).db"
thin
