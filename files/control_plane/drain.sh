# Drains a node within the disruption budgets of its pods: drain.sh NODE SECONDS MARK KUBECTL...
# A node that took pods before gets the label MARK, by which uncordon.sh later uncordons it. If the drain fails, this
# script uncordons it at once. A node that was cordoned before stays cordoned.
set -u
node=$1 seconds=$2 mark=$3
shift 3

label=$(echo "$mark" | sed 's/[.]/\\./g')
seen=$("$@" get node "$node" --ignore-not-found \
  -o "jsonpath={.metadata.name} {.spec.unschedulable} {.metadata.labels.$label}") || exit 1
[ -n "$seen" ] || exit 0
if [ "$seen" != "$node true " ]; then
  "$@" label --overwrite node "$node" "$mark=yes" >&2 || exit 1
fi
"$@" drain "$node" --ignore-daemonsets --delete-emptydir-data --force --timeout="${seconds}s" >&2 && exit 0

if [ "$seen" = "$node true " ]; then
  pods='it takes no new ones, as before'
elif "$@" uncordon "$node" >&2 && "$@" label node "$node" "$mark-" >&2; then
  pods='it takes new ones again'
else
  pods="it takes no new ones until kubectl uncordon $node"
fi
echo "$node: was not drained in $seconds s, see above; make room on other nodes, or delete those pods ($pods)" >&2
exit 1
