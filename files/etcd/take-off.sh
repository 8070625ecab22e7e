# Takes etcd off a host that is not a member any more: units, keys, tools and data. All else there goes on.
# take-off.sh HOST. Each step may find its work done already; the data go last, so that a cut is noticed.
set -u
host=$1
units="etcd-snapshot.timer etcd-snapshot.service etcd.service"
tools="etcdctl etcdutl"

for unit in $units; do
  systemctl stop "$unit" 2>/dev/null
  systemctl disable --quiet "$unit" 2>/dev/null
  rm -f "/etc/systemd/system/$unit"
done
systemctl daemon-reload
for unit in $units; do
  systemctl reset-failed "$unit" 2>/dev/null
done

for tool in $tools; do
  stored=$(readlink "/opt/kubekeel/bin/$tool")
  case $stored in ../store/*/"$tool") rm -rf "/opt/kubekeel/bin/${stored%/*}" ;; esac
  rm -f "/opt/kubekeel/bin/$tool" "/usr/local/bin/$tool"
done
rm -f /opt/kubekeel/libexec/take-snapshot /var/lib/systemd/timers/stamp-etcd-snapshot.timer

# A folder may be a link, or a disk of its own: that stays, empty.
places="/etc/etcd /var/lib/etcd-snapshots /var/lib/etcd-replaced /var/lib/etcd"
for place in $places; do
  [ -d "$place" ] || continue
  find -H "$place" -xdev -mindepth 1 ! -path '*/lost+found*' -delete
  rmdir "$place" 2>/dev/null
done

left=$(
  # shellcheck disable=SC2086 # They have no spaces.
  find -H $places -mindepth 1 ! -path '*/lost+found*' 2>/dev/null
  systemctl is-active --quiet etcd.service && echo etcd.service
)
if [ -n "$left" ]; then
  echo "$host: etcd is not wholly gone ($(echo "$left" | head -n 5 | tr '\n' ' ')); run this again" >&2
  exit 1
fi
