# Removes what is left of a member's data before the member joins anew: clear-member.sh HOST. Has undo.sh before it.
set -eu
host=$1 member=/var/lib/etcd/member

# An etcd that still runs here has lost its data.
systemctl stop etcd.service
volumes=$(mounted_below $member | tr '\n' ' ' | sed 's/ $//')
if [ -n "$volumes" ]; then
  echo "$host: cannot join etcd while something is mounted below $member ($volumes); unmount that, then deploy again"
  exit 1
fi
# etcd makes these two anew, and replaces links.
for folder in $member/wal $member/snap; do
  if [ -L "$folder" ] && [ -d "$folder" ]; then content "$folder" -delete; fi
done
clear_away $member
# A disk of its own stays, for etcd's user.
if [ -d $member ]; then
  chown etcd:etcd "$(readlink -e $member)"
  chmod 700 "$(readlink -e $member)"
fi
