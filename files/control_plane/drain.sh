# Has a node's pods go elsewhere, as far as their disruption budgets let them: drain.sh NODE SECONDS KUBECTL...
# A node that could not be drained takes pods again, unless it took none before.
set -u
node=$1 seconds=$2
shift 2

seen=$("$@" get node "$node" --ignore-not-found -o 'jsonpath={.metadata.name} {.spec.unschedulable}') || exit 1
[ -n "$seen" ] || exit 0
"$@" drain "$node" --ignore-daemonsets --delete-emptydir-data --force --timeout="${seconds}s" >&2 && exit 0

if [ "$seen" = "$node true" ]; then
  pods='it takes no new ones, as before'
elif "$@" uncordon "$node" >&2; then
  pods='it takes new ones again'
else
  pods="it takes no new ones until kubectl uncordon $node"
fi
echo "$node: was not drained in $seconds s, see above; make room on other nodes, or delete those pods ($pods)" >&2
exit 1
