#!/bin/sh
# Waits until a condition holds, as long as there is progress: a slow host may take long, but a stuck one may not.
# Progress is a line that neither the condition nor PROGRESS has printed before.
#
# wait.sh COMPLAINT PATIENCE CEILING CONDITION PROGRESS EXPLAIN RESTARTS
#
# PATIENCE is the longest time without progress, CEILING the longest time of all, both in seconds. The last four are
# shell scripts. PROGRESS may use `plain`, and EXPLAIN `$waited`. RESTARTS prints the name of each program, and how often
# it was restarted: after three restarts of one program during the wait, the script gives it up.
set -u
complaint=$1 patience=$2 ceiling=$3 condition=$4 progress=$5 explain=$6 restarts=$7 restarted=0

# Removes numbers and times from a log's lines, so that a repeated failure does not count as progress.
plain='plain() { sed -E "s/0x[0-9a-f]+|[0-9A-Fa-f-]{8,}/#/g; s/[0-9][0-9.:]*(ns|us|µs|ms|s|m|h)*/#/g; s/#+/#/g" | cut -c -100; }'
eval "$plain"

# Seconds since the boot: somebody may set the host's clock during the wait.
clock() {
  read -r now _ </proc/uptime
  now=${now%%.*}
}

# timeout exits with 124. A slow condition gets more time at the next try.
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

# Without an answer in time, as from a slow host, the number stays.
before='' counted=false
count() {
  [ "$restarts" != true ] || return 0
  list=$(timeout "$progress_limit" sh -c "$restarts" 2>/dev/null) || return 0
  $counted || before=$list
  counted=true
  restarted=$(printf '%s\n\n%s\n' "$before" "$list" | awk '
    !now && $0 == "" { now = 1; next }
    !now { if ($2 > first[$1]) first[$1] = $2; next }
    $2 - first[$1] > most { most = $2 - first[$1] }
    END { print most + 0 }')
}

clock
started=$now moved=$now looked=-1
count
while begun=$now && ! holds; do
  clock
  if [ "$now" != "$looked" ]; then
    look
    count
    clock
    looked=$now
  fi
  waited=$((now - started)) still=$((now - moved))
  if [ "$still" -ge "$patience" ] || [ "$waited" -ge "$ceiling" ] || [ "$restarted" -ge 3 ]; then
    ! holds || exit 0
    clock
    waited=$((now - started)) still=$((now - moved))
    why="nothing new for $still s"
    [ "$restarted" = 0 ] || why="$why; restarted $restarted times"
    echo "$complaint (waited $waited s; $why)"
    [ -z "$last" ] || echo "The last new line: $last"
    [ -z "$said" ] || { echo "Its last answer:" && printf '%s\n' "$said" | tail -n 5; }
    export waited
    timeout 120 sh -c "$explain" 2>&1
    echo "The same command goes on from here."
    exit 1
  fi
  # To spare a slow host, this pauses for as long as the last check took.
  pause=$((now - begun - 1 + waited / 30))
  [ "$pause" -le 10 ] || pause=10
  if [ "$pause" -gt 0 ]; then sleep "$pause"; else sleep 0.2; fi
  clock
done
