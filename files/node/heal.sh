#!/bin/sh
# Restarts units from whose rules, routes or devices somebody took some away: heal UNIT CHECK [UNIT CHECK...].
# Each CHECK is a command that fails, and says what is lacking, while its unit does not do its work.
set -u

# For how many seconds a unit has been active; 0 where it is not.
age() {
  systemctl is-active --quiet "$1" || { echo 0; return; }
  awk -v since="$(systemctl show -p ActiveEnterTimestampMonotonic --value "$1")" \
    '{ print int($1 - since / 1000000) }' /proc/uptime
}

keep() {
  unit=$1 check=$2 grace=15
  while sleep 10; do
    $check >/dev/null && { grace=15; continue; }
    # What is about to be made is there a moment later.
    sleep 5
    lacking=$($check) && continue
    [ "$(age "$unit")" -ge $grace ] || continue
    echo "$unit is restarted: $(echo "$lacking" | paste -s -d , -)"
    systemctl restart "$unit"
    if $check >/dev/null; then
      grace=15
    elif [ $grace -lt 600 ]; then
      # What one restart does not cure, the next one will hardly.
      grace=$((grace * 2))
    fi
  done
}

while [ $# -gt 1 ]; do
  keep "$1" "$2" &
  shift 2
done
wait
