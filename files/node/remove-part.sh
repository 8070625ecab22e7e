# Removes the units and files of a former role from a host: remove-part.sh HOST. Needs the functions of undo.sh.
# It deletes the marks last: after an interruption they show the next run that work is left.
set -u
host=$1
: "${units?}" "${folders?}" "${files?}" "${links?}" "${shared?}" "${marks?}"

for unit in $units; do
  systemctl disable --quiet "$unit" 2>/dev/null
  systemctl stop "$unit" 2>/dev/null
  ! systemctl is-active --quiet "$unit" || { echo "$host: $unit does not stop; reboot it and deploy again"; exit 1; }
done
set -e
# shellcheck disable=SC2086
clear_away $folders
# shellcheck disable=SC2086
left=$(remains $folders)
if [ -n "$left" ]; then
  remedy="unmount the volumes there, then run this again"
  echo "$host: not everything is gone ($(echo "$left" | tr '\n' ' ' | sed 's/ $//')); $remedy"
  exit 1
fi
for file in $files; do
  rm -f "$file"
done
# Somebody else may have put a file or another link there.
for link in $links; do
  case $(readlink "$link") in /opt/kubekeel/*) rm -f "$link" ;; esac
done
# An interrupted run leaves such files.
find -H /etc/kubernetes /opt/kubekeel -xdev -name '.*.kubekeel-new' -delete
systemctl daemon-reload
for unit in $units; do
  systemctl reset-failed "$unit" 2>/dev/null || true
done
last=${marks##* }
for mark in ${marks%"$last"}; do
  rm -f "$mark"
done
# Marks may have been the only files there.
for folder in $shared; do
  rmdir "$folder" 2>/dev/null || true
done
rm -f "$last"
