#!/bin/sh
# Restarts units whose rules, routes or devices somebody deleted: heal UNIT CHECK [UNIT CHECK...].
# Each CHECK is a command that fails, and prints the faults, while its unit does not work.
set -u

# Prints for how many seconds a unit has been active; 0 if it is not.
age() {
  systemctl is-active --quiet "$1" || { echo 0; return; }
  awk -v since="$(systemctl show -p ActiveEnterTimestampMonotonic --value "$1")" \
    '{ print int($1 - since / 1000000) }' /proc/uptime
}

keep() {
  unit=$1 check=$2 grace=15
  while sleep 10; do
    $check >/dev/null && { grace=15; continue; }
    # The unit may be about to make what is missing.
    sleep 5
    faults=$($check) && continue
    [ "$(age "$unit")" -ge $grace ] || continue
    echo "restarting $unit: $(echo "$faults" | paste -s -d , -)"
    systemctl restart "$unit"
    if $check >/dev/null; then
      grace=15
    elif [ $grace -lt 600 ]; then
      # If one restart did not help, the next one hardly will, so this waits longer.
      grace=$((grace * 2))
    fi
  done
}

while [ $# -gt 1 ]; do
  keep "$1" "$2" &
  shift 2
done
wait
