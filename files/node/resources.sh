# Prints what a host has for those who will run there: on each line a word, then what there is to say to it.
: "${commands?}" "${rooms?}" "${modules?}"

# Where a folder will be, if it is not there: its file system, and what of that is left.
for folder in $rooms; do
  there=$folder
  until [ -d "$there" ]; do there=${there%/*} there=${there:-/}; done
  options=$(findmnt -n -o OPTIONS -T "$there" | tail -n 1)
  echo "room $folder $(stat -f -c '%S %b %a %c %d' "$there") ${options:-rw} $(stat -f -c %T "$there")"
  xfs_info "$there" | grep -q 'ftype=0' && echo "typeless $folder"
done
for folder in /etc /opt /usr/local /var/lib; do
  [ ! -d $folder ] || [ -w $folder ] || echo "read_only $folder"
done
# The look finds them in more folders than the login does.
for command in $commands; do
  path=$(command -v "$command") || continue
  (PATH=${login_path-$PATH} && command -v "$command" >/dev/null) || echo "off_path $path"
done
echo "processors $(nproc)"
[ -c /dev/kmsg ] || echo no_kmsg
[ "$(cat /sys/fs/selinux/enforce)" = 1 ] && echo selinux
# Those that are part of the kernel itself it shows by what it has in them alone.
for module in $modules; do
  [ -d "/sys/module/$module" ] || grep -q "/$module\.ko" "/lib/modules/$(uname -r)/modules.dep" ||
    grep -q " $module" /proc/kallsyms || echo "module_lacking $module"
done
# A container has the kernel and the clock of the machine that it is on.
if ! systemd-detect-virt --quiet --container; then
  [ -z "$(ls /lib/modules)" ] || [ -d "/lib/modules/$(uname -r)" ] || echo modules_gone
  systemctl is-active systemd-timesyncd chrony chronyd ntp ntpd ntpsec openntpd vmtoolsd | grep -qx active ||
    echo clock_alone
fi
