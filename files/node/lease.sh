# Takes or renews a host's lease for the run $holder if possible, and prints its holder.
# The holder of a place's lock may take its lease: all earlier runs from there have ended. A run that gives its lease
# back deletes the file, while this one may wait for its lock. The second line has the boot, and the seconds from then
# on, since the clock may be set; earlier versions write no such line.
# shellcheck disable=SC2094 # The lock is that of the file itself.
: "${lease?}" "${place?}" "${holder?}" "${life?}"

read -r boot </proc/sys/kernel/random/boot_id
# shellcheck disable=SC2034 # It counts.
for try in 1 2 3 4 5; do
  mkdir -p "${lease%/*}"
  (
    flock 9
    # shellcheck disable=SC3013 # All shells that hosts have as sh know -ef.
    [ "$lease" -ef /proc/self/fd/9 ] || exit 1
    { read -r line; read -r booted since; } <"$lease"
    read -r up _ </proc/uptime
    up=${up%%.*}
    case $booted in
      "$boot") age=$((up - since)) ;;
      "") age=$(($(date +%s) - $(stat -c %Y "$lease"))) ;;
      *) age=$((life + 1)) ;;
    esac
    if [ ! -s "$lease" ] || [ $age -gt "$life" ] || [ "${line%% *}" = "$place" ]; then
      line=$holder
      printf '%s\n' "$line" "$boot $up" >"$lease" || line=
    fi
    printf 'lease %s\n' "$line"
  ) 9>>"$lease" && break
done
