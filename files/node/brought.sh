# Prints units, files, devices and rules of a host that are not Kubekeel's and could clash with it: on each line a
# word, then its values.
: "${units?}" "${others?}" "${folders?}" "${written?}" "${pods?}"
roots="/etc/systemd/system /run/systemd/system /usr/local/lib/systemd/system /usr/lib/systemd/system /lib/systemd/system"

# shellcheck disable=SC2046,SC2086 # A word for each path: these folders' names have no spaces.
set -- $(grep -ls /opt/kubekeel/ $(printf '%s/*.service ' $roots))
start_ours=" $* "

# Whether a unit file is Kubekeel's, by its name or by the program that it starts: is_ours UNIT PATH.
is_ours() {
  case $1 in kubekeel-*) [ -s "$2" ] ;; *) case $start_ours in *" $2 "*) ;; *) false ;; esac ;; esac
}

# systemd reads only the first file of a name. An empty one, or /dev/null, hides the others.
for unit in $units; do
  for root in $roots; do
    [ -e "$root/$unit" ] || continue
    if is_ours "$unit" "$root/$unit"; then
      echo "own_unit $unit"
    elif [ -s "$root/$unit" ]; then
      echo "foreign_unit $unit $root/$unit"
    fi
    break
  done
  names=
  for root in /etc/systemd/system.control $roots; do
    for file in "$root/$unit.d"/*.conf; do
      case " $names " in *" ${file##*/} "*) continue ;; esac
      [ -e "$file" ] || continue
      names="$names ${file##*/}"
      grep -q '^[[:space:]]*ExecStart[[:space:]]*=' "$file" && echo "drop_in $unit $file replaces"
      [ ! -s "$file" ] || echo "drop_in $unit $file"
    done
  done
done
for unit in $others; do
  for root in $roots; do
    [ -s "$root/$unit" ] && echo "other_unit $unit" && break
  done
done

for folder in $folders; do
  find -H "$folder" ! -type d -printf "filled $folder %p\n" -quit
done
# On a host with Kubekeel's binaries the other files are Kubekeel's, too.
[ -n "$(ls -A /opt/kubekeel/store)" ] || for path in $written; do
  [ ! -e "$path" ] || case $(readlink "$path") in /opt/kubekeel/*) ;; *) echo "replaced $path" ;; esac
done
find -H /etc/cni/net.d -mindepth 1 -maxdepth 1 \( -name '*.conf' -o -name '*.conflist' -o -name '*.json' \) \
  -printf 'cni %f\n'
awk '$5 ~ "^/var/lib/kubelet/" {print "mounted", $5}' /proc/self/mountinfo | head -n 5
getent passwd etcd >/dev/null && ! getent group etcd >/dev/null && echo user_without_group

# Devices, and the UDP ports in use. The ports of the kernel's tunnels belong to no process.
ip -o link show | sed -n 's/^[0-9]*: \([^:@]*\)[:@].*/device \1/p' | grep -E \
  ' (cni0|cbr0|flannel.*|kube-.*|cilium_.*|lxc_health|cali.*|vxlan[.-](calico|v6.calico)|weave|antrea-.*|ovn-k8s-.*)$'
printf 'tunnels %s\n' "$(ip -details -json link show type vxlan | tr -d '\n')"
printf 'tunnels %s\n' "$(ip -details -json link show type geneve | tr -d '\n')"
ss -Hlunp | sed 's/^/udp /'

# Firewalls, and rules that other pod networks left in the kernel. nft also shows the rules of iptables-nft.
# iptables-legacy-save would load kernel modules, so this runs it only on hosts that have used iptables-legacy.
# A rule without a condition decides on every packet: the rules after it, and the policy, do not count.
nft_rule='[[:space:]]*(counter( packets [0-9]+ bytes [0-9]+)? |log( prefix "[^"]*")?( (level|group|flags) [a-z0-9]+)* )*'
every="^($nft_rule|-A [A-Z]+( -m comment --comment (\"[^\"]*\"|[^ ]+))? -j )"
barred="$every(drop|DROP|reject|REJECT|xt target \"REJECT\")( .*)?$"
passes="(cni0|$pods).*[[:space:]](accept|ACCEPT)|FLANNEL-FWD|$every(accept|ACCEPT)( .*)?$"
# Reads the rules of a chain, and prints "rule" or "policy" if that drops the traffic of pods.
dropping() {
  rules=$(sed -E "/$barred/q")
  echo "$rules" | grep -qE "$passes" ||
    echo "$rules" | sed -nE "s/$barred/rule/p; s/.*policy drop.*|^:[A-Z]+ DROP.*/policy/p" | tail -n 1
}
left='^(KUBE-|FLANNEL-|CNI-|CILIUM_|OLD_CILIUM_|cali-|WEAVE-|ANTREA-)|^(kube-proxy|flannel-ipv[46]|cni_hostport)$'
if command -v nft >/dev/null; then
  chains=$(nft list chains)
  echo "$chains" | awk '
    $1 == "table" {table = $2 " " $3}
    $1 == "chain" {chain = $2}
    /type filter hook (forward|input) / && table ~ /^(ip|inet) / {print $4, table, chain}' |
    while read -r hook family table chain; do
      by=$(nft list chain "$family" "$table" "$chain" | dropping)
      [ -z "$by" ] || echo "drops $hook $family $table $chain $by"
    done
  echo "$chains" | awk '$1 == "table" {print $3} $1 == "chain" {print $2}' | grep -E "$left" | head -n 5 | sed 's/^/rules /'
fi
for tables in iptables-legacy iptables; do
  case $tables in
    iptables-legacy) grep -q . /proc/net/ip_tables_names || continue ;;
    iptables) ! command -v nft >/dev/null || continue ;;
  esac
  rules=$($tables-save) || continue
  for hook in FORWARD INPUT; do
    by=$(echo "$rules" | sed -n '/^\*filter/,/^COMMIT/p' | grep -e "^:$hook " -e "^-A $hook " | dropping)
    [ -z "$by" ] || echo "drops $(echo $hook | tr '[:upper:]' '[:lower:]') iptables filter $hook $by"
  done
  echo "$rules" | sed -n 's/^:\([^ ]*\) .*/\1/p' | grep -E "$left" | head -n 5 | sed 's/^/rules /'
done
if command -v firewall-cmd >/dev/null && systemctl is-active --quiet firewalld; then
  echo "firewalld $(firewall-cmd --zone=trusted --list-sources)"
fi
if grep -q '^ENABLED=yes' /etc/ufw/ufw.conf; then
  echo ufw
  ufw show added | sed -n "s/ comment '.*//; s/^ufw /ufw_rule /p"
fi
