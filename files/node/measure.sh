# Measures how this host reaches its peers, and how long writes to etcd's disk take: prints on each line a word, then
# its values. Each of $peers is ADDRESS:PORT,PORT...; $disk is etcd's folder, or empty. No file stays on the disk.
: "${peers?}" "${disk?}"

passes() { ping -n -q -c 1 -W 1 -M "do" -s $(($2 - 28)) "$1" >/dev/null 2>&1; }
# Prints the size of the largest packet that arrives whole, with the 28 bytes of its IP and ICMP headers.
largest() {
  passes "$1" "$2" && echo "$2" && return
  low=576 high=$2
  passes "$1" $low || return
  while [ $((high - low)) -gt 1 ]; do
    middle=$(((low + high) / 2))
    if passes "$1" $middle; then low=$middle; else high=$middle; fi
  done
  echo $low
}
measure() {
  device=$(ip -4 route get "$1" | sed -n 's/.* dev \([^ ]*\).*/\1/p')
  size=$(ip -o link show dev "$device" | sed -n 's/.* mtu \([0-9]*\) .*/\1/p')
  echo "size $1 $size"
  ping -n -q -c 5 -i 0.2 -W 2 "$1" | sed -n "s|^r.* = [^/]*/\([0-9.]*\)/.*|round_trip $1 \1|p"
  packet=$(largest "$1" "$size")
  [ -z "$packet" ] || echo "packet $1 $packet"
}
# A refused connection has reached its host: the kernel refuses ports where nothing listens.
try() {
  command -v bash >/dev/null || return
  said=$(LC_ALL=C timeout 3 bash -c "exec 3<>/dev/tcp/$1/$2" 2>&1)
  case $?,$said in
    0,* | *refused*) echo "port $1 $2 reached" ;;
    124,*) echo "port $1 $2 lost" ;;
    *) echo "port $1 $2 barred" ;;
  esac
}
for peer in $peers; do
  measure "${peer%%:*}" &
  for port in $(echo "${peer#*:}" | tr , ' '); do
    try "${peer%%:*}" "$port" &
  done
done
wait

[ -n "$disk" ] || exit 0
until [ -d "$disk" ]; do disk=${disk%/*}; done
file=$(mktemp "$disk/.kubekeel-XXXXXX") || exit 0
trap 'rm -f "$file"' EXIT
trap 'exit 1' HUP INT TERM
# etcd's documentation measures disks by writes of this size.
for count in $(seq 200); do
  LC_ALL=C dd if=/dev/zero of="$file" bs=2300 count=1 seek="$count" oflag=dsync conv=notrunc
done 2>&1 | sed -n 's/.* copied, \([0-9.e-]*\) s.*/sync \1/p'
