# Prints a host's disks, commands, processors, modules and clock: on each line a word, then its values.
: "${commands?}" "${rooms?}" "${modules?}"

# Sets $there to a folder, or to its nearest parent that exists.
place() {
  there=$1
  until [ -d "$there" ]; do there=${there%/*} there=${there:-/}; done
}

set --
for folder in $rooms; do
  place "$folder"
  set -- "$@" "$there"
done
# Prints each folder's place, file system and mount, by few processes for any number of folders.
found=$({
  # shellcheck disable=SC2086 # A line for each folder.
  printf '%s\n' $rooms "$@"
  readlink -f "$@"
  stat -f -c 'file_system %n %S %b %a %c %d %T' "$@"
  cat /proc/self/mountinfo
} | awk -v n=$# '
  NR <= n {room[NR] = $1; next}
  NR <= 2 * n {place[NR - n] = $1; next}
  NR <= 3 * n {real[NR - 2 * n] = $0 "/"; next}
  $1 == "file_system" {size[$2] = $3 " " $4 " " $5 " " $6 " " $7; kind[$2] = $8; next}
  {
    point = $5 == "/" ? "/" : $5 "/"
    for (i = 1; i <= n; i++)
      if (index(real[i], point) == 1 && length(point) >= depth[i]) {
        depth[i] = length(point)
        options[i] = $6 "," $NF
      }
  }
  END {
    for (i = 1; i <= n; i++)
      if (place[i] in size) print "room", room[i], size[place[i]], options[i] ? options[i] : "rw", kind[place[i]]
  }')
printf '%s\n' "$found"
case $found in
  *' xfs'*)
    for folder in $rooms; do
      place "$folder"
      xfs_info "$there" | grep -q 'ftype=0' && echo "typeless $folder"
    done
    ;;
esac
for folder in /etc /opt /usr/local /var/lib; do
  [ ! -d $folder ] || [ -w $folder ] || echo "read_only $folder"
done
# This script searches more folders than a login does.
off_path=$(
  PATH=${login_path-$PATH}
  for command in $commands; do command -v "$command" >/dev/null || echo "$command"; done
)
for command in $off_path; do
  path=$(command -v "$command") && echo "off_path $path"
done
echo "processors $(nproc)"
[ -c /dev/kmsg ] || echo no_kmsg
[ "$(cat /sys/fs/selinux/enforce)" = 1 ] && echo selinux
# /proc/kallsyms shows modules that are built into the kernel.
for module in $modules; do
  [ -d "/sys/module/$module" ] || grep -qs "/$module\.ko" "/lib/modules/$(uname -r)"/modules.dep \
    "/lib/modules/$(uname -r)"/modules.builtin || grep -q " $module" /proc/kallsyms || echo "module_lacking $module"
done
# A container uses the kernel and the clock of its machine.
container=${container-$(systemd-detect-virt --container)}
if [ "${container:-none}" != none ]; then
  echo container
else
  [ -z "$(ls /lib/modules)" ] || [ -d "/lib/modules/$(uname -r)" ] || echo modules_gone
  systemctl is-active systemd-timesyncd chrony chronyd ntp ntpd ntpsec openntpd vmtoolsd | grep -qx active ||
    echo clock_alone
fi
