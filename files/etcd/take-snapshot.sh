#!/bin/sh
# Takes a snapshot of this host's etcd, verifies it, and deletes old ones.
# It keeps the newest five, or fewer if less than twice a snapshot's size is free: the disk is usually etcd's own.
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
  # shellcheck disable=SC2046 # The names are times, without spaces.
  set -- $(kept)
  while [ $# -gt $keep ] || { [ $# -gt 1 ] && [ "$(free)" -lt "$needed" ]; }; do
    rm "$1"
    shift
  done
}

# Interrupted runs leave hidden, incomplete files: this script .new.db*, and rescue-snapshot.sh the folder .rescue.
rm -f .new.db*
find . -maxdepth 1 -name .rescue -mmin +60 -exec rm -rf {} + || true
trap 'rm -f .new.db*' EXIT

size=$(etcd endpoint status -w json | sed -n 's/.*"dbSize":\([0-9]*\).*/\1/p')
[ -n "$size" ] || exit 1
needed=$((2 * size / 1024))
# The new snapshot may take the place of all old ones but the newest.
spare=$(kept | sed '$d' | xargs -r du -k | awk '{sum += $1} END {print sum + 0}')
if [ $(($(free) + spare)) -lt $needed ]; then
  echo "$(pwd): has too little room for a snapshot ($(($(free) / 1024)) MiB free, $((needed / 1024)) needed);" \
    "make room on this disk, or link this folder to another one" >&2
  exit 1
fi
thin
etcd snapshot save .new.db >/dev/null
# A snapshot of etcd ends with the sha256 of all bytes before it.
said=$(tail -c 32 .new.db | od -An -v -tx1 | tr -d ' \n')
found=$(head -c -32 .new.db | sha256sum | cut -d ' ' -f 1)
if [ "$said" != "$found" ]; then
  echo "$(pwd): the snapshot is damaged (sha256 $found, not $said); check the disk, and read etcd's log" >&2
  exit 1
fi
etcdutl snapshot status .new.db
sync .new.db
mv .new.db "$(date -u +%Y-%m-%dT%H%M%SZ).db"
thin
