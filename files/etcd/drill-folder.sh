# Makes a folder for a drill, if there is room for $needed KiB, and prints its path.
: "${needed?}"
set -eu
umask 077
cd /var/lib/etcd-snapshots
free=$(df -Pk . | awk 'NR == 2 {print $4}')
[ "$free" -ge "$needed" ] || {
  echo "$(pwd): has too little room for a drill ($((free / 1024)) MiB free, $((needed / 1024)) needed)" >&2
  exit 1
}
mktemp -d "$(pwd)/.verify.XXXXXX"
