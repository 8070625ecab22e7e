#!/bin/sh
# Waits until a condition holds, for as long as something moves: a slow host may take its time, one that stands still
# may not. What moves is a line that was not there before, from the condition or from PROGRESS.
#
# wait.sh COMPLAINT PATIENCE CEILING CONDITION PROGRESS EXPLAIN RESTARTS
#
# PATIENCE is how long it may stand still, CEILING how long it may take, both in seconds. The last four are shell
# scripts. PROGRESS may use `plain`, and EXPLAIN `$waited`. RESTARTS prints how often the program was started again: one
# that needs most_restarts during the wait will not serve.
set -u
complaint=$1 patience=$2 ceiling=$3 condition=$4 progress=$5 explain=$6 restarts=$7 most_restarts=3

# Lines of a log without what differs each time: what fails again and again says nothing new.
plain='plain() { sed -E "s/0x[0-9a-f]+|[0-9A-Fa-f-]{8,}/#/g; s/[0-9][0-9.:]*(ns|us|µs|ms|s|m|h)*/#/g; s/#+/#/g" | cut -c -100; }'
eval "$plain"

# Seconds since the boot: the host's clock may be set meanwhile.
clock() {
  read -r now _ </proc/uptime
  now=${now%%.*}
}

# timeout exits with 124. What is slow gets more time at the next try.
limit=30
holds() {
  said=$(timeout "$limit" sh -c "$condition" 2>&1) && return
  [ $? != 124 ] || limit=$((limit * 2))
  false
}

seen='' last='' progress_limit=20
look() {
  moves=$(
    timeout "$progress_limit" sh -c "$plain
$progress" 2>/dev/null
  ) || [ $? != 124 ] || progress_limit=$((progress_limit * 2))
  news=$(
    {
      printf '%s\n\n' "$seen"
      printf '%s\n' "$said" | plain
      printf '%s\n' "$moves"
    } | cut -c -300 | awk '
      !new && $0 == "" { new = 1; next }
      $0 != "" && !old[$0]++ && new'
  )
  [ -n "$news" ] || return 0
  seen="$seen${seen:+
}$news"
  last=$(printf '%s\n' "$news" | tail -n 1)
  clock
  moved=$now
}

count() {
  count=$(timeout "$progress_limit" sh -c "$restarts" 2>/dev/null) || count=''
  case $count in '' | *[!0-9]*) count=0 ;; esac
  # The logs of an earlier program, and so its restarts, may go.
  [ "$count" -ge "${first:-$count}" ] || first=$count
}

clock
started=$now moved=$now looked=-1
count
first=$count
while begun=$now && ! holds; do
  clock
  if [ "$now" != "$looked" ]; then
    look
    count
    clock
    looked=$now
  fi
  waited=$((now - started)) still=$((now - moved))
  if [ "$still" -ge "$patience" ] || [ "$waited" -ge "$ceiling" ] || [ $((count - first)) -ge "$most_restarts" ]; then
    ! holds || exit 0
    clock
    waited=$((now - started)) still=$((now - moved))
    why="nothing new for $still s"
    [ "$count" -eq "$first" ] || why="$why; restarted $((count - first)) times"
    echo "$complaint (waited $waited s; $why)"
    [ -z "$last" ] || echo "The last new line: $last"
    [ -z "$said" ] || { echo "Its last answer:" && printf '%s\n' "$said" | tail -n 5; }
    export waited
    timeout 120 sh -c "$explain" 2>&1
    echo "The same command goes on from here."
    exit 1
  fi
  # A slow host has better to do than to be asked: it is left alone for as long as the last answer took.
  pause=$((now - begun - 1 + waited / 30))
  [ "$pause" -le 10 ] || pause=10
  if [ "$pause" -gt 0 ]; then sleep "$pause"; else sleep 0.2; fi
  clock
done
