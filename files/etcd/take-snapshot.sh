#!/bin/sh
# Takes a snapshot of this host's etcd, keeps it if it is sound, and of all of them the newest five.
set -eu
umask 077
cd "${STATE_DIRECTORY:-/var/lib/etcd-snapshots}"
# The hidden one is not whole yet.
rm -f .new.db*
trap 'rm -f .new.db*' EXIT
etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/pki/ca.crt \
  --cert="$CREDENTIALS_DIRECTORY/root.crt" --key="$CREDENTIALS_DIRECTORY/root.key" snapshot save .new.db >/dev/null
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
find . -name '*.db' | sort -r | tail -n +6 | xargs -r rm
