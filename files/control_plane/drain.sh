# Has a node's pods go elsewhere, as far as their disruption budgets let them: drain.sh NODE SECONDS MARK KUBECTL...
# One that took pods before has the label MARK until uncordon.sh has it take them again, which is at once where it could
# not be drained. One that took none stays so.
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
