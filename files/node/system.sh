# Prints a host's system, network, processes, commands and disks: on each line a word, and its value if it has one.
: "${members?}" "${services?}" "${commands?}" "${disks?}" "${folders?}" "${sysctls?}"

# shellcheck disable=SC2034 # etcd/members.sh counts from then on.
read -r began _ </proc/uptime
# shellcheck disable=SC2034 # resources.sh compares them.
login_path=$PATH
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
echo "clock $(date +%s)"
echo "uid $(id -u)"
echo "kernel $(uname -sr)"
[ -r /etc/os-release ] && echo "system $(. /etc/os-release; echo "$PRETTY_NAME")"
[ -d /run/systemd/system ] && echo "systemd $(systemctl --version | sed -n '1s/[^0-9]*\([0-9]*\).*/\1/p')"
echo "controllers $(cat /sys/fs/cgroup/cgroup.controllers || awk '$4 == 1 {print $1}' /proc/cgroups | tr '\n' ' ')"
awk 'NR > 1 {print "swap " $1 ", " int($3 / 1024) " MiB"}' /proc/swaps
echo "machine_id $(cat /etc/machine-id)"
container=$(systemd-detect-virt --container)
# A container shows the number of the machine it is in.
[ "${container:-none}" != none ] || echo "product_uuid $(cat /sys/class/dmi/id/product_uuid)"
[ -n "$(ls -A /opt/kubekeel/store)" ] && echo installed
find /opt/kubekeel/bin/ -maxdepth 1 -type l -printf 'link %f %l\n'
grep -L -e --peer-cert-allowed-cn /etc/systemd/system/etcd.service | sed 's/.*/etcd_takes_any_peer/'
grep -l -e --subnet-file=/var/lib/flannel/ /etc/systemd/system/flanneld.service | sed 's/.*/has_own_lease/'
printf 'addresses %s\n' "$(ip -json -4 address show | tr -d '\n')"
printf 'routes %s\n' "$(ip -json -4 route show table all | tr -d '\n')"
listening=$(ss -Hltnp)
echo "$listening" | sed 's/^/listener /'
processes=$(echo "$listening" | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u)
if [ -n "$processes" ]; then
  own=$(readlink -f /opt/kubekeel)
  # shellcheck disable=SC2046,SC2086 # A word for each process.
  {
    find $(printf '/proc/%s/exe ' $processes) -maxdepth 0 -lname "$own/*" -printf '%p\n'
    grep -l -e kubepods -e slice/kubekeel- $(printf '/proc/%s/cgroup ' $processes)
  } | cut -d/ -f3 | sort -u | sed 's/^/ours /'
fi

ip -4 route get "$services" >/dev/null || echo no_route_to_services
for member in $members; do
  ip -4 route get "$member" | sed -n "s/.* src \([0-9.]*\).*/source $member \1/p"
done

for command in $commands; do
  command -v "$command" >/dev/null && echo "command $command"
done
set --
for folder in $disks; do
  # The nearest existing folder, where a missing one will be made.
  until [ -d "${folder:-/}" ]; do folder=${folder%/*}; done
  set -- "$@" "${folder:-/}"
done
df -Pk "$@" | awk -v folders="$disks" '
  BEGIN {split(folders, folder, " ")}
  NR > 1 {print "disk", folder[NR - 1], int($4 / 1024)}'
# shellcheck disable=SC2016 # These are fields of awk.
find /etc/sysctl.d /run/sysctl.d /usr/local/lib/sysctl.d /usr/lib/sysctl.d /etc/sysctl.conf -name '*.conf' |
  awk -F / -v own="${sysctls##*/}" '$NF > own || $0 == "/etc/sysctl.conf"' |
  xargs -r awk -F '[ \t]*=[ \t]*' '/^[ \t]*[-a-z].*=/ {
    sub(/^[ \t]*-?/, "", $1); gsub("/", ".", $1); sub(/[ \t]+$/, "", $2); print "late_setting", FILENAME, $1, $2 }'
for folder in $folders; do
  [ -L "$folder" ] && [ ! -d "$folder" ] && echo "astray $folder $(readlink "$folder")"
done
