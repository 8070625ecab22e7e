# Deletes the rest of a member's data before the member joins again: clear-member.sh HOST. Needs undo.sh's functions.
set -eu
host=$1 member=/var/lib/etcd/member

# A running etcd has lost its data.
systemctl stop etcd.service
volumes=$(mounted_below $member | tr '\n' ' ' | sed 's/ $//')
if [ -n "$volumes" ]; then
  echo "$host: cannot join etcd while volumes are mounted below $member ($volumes); unmount them, then deploy again"
  exit 1
fi
# etcd creates these two folders again, and replaces links.
for folder in $member/wal $member/snap; do
  if [ -L "$folder" ] && [ -d "$folder" ]; then content "$folder" -delete; fi
done
clear_away $member
# If the folder has its own disk, it stays, and etcd's user needs it.
if [ -d $member ]; then
  chown etcd:etcd "$(readlink -e $member)"
  chmod 700 "$(readlink -e $member)"
fi
