# Uncordons a node if drain.sh cordoned it: uncordon.sh NODE MARK KUBECTL...
set -u
node=$1 mark=$2
shift 2

marked=$("$@" get nodes -l "$mark" -o name) || exit 1
echo "$marked" | grep -qxF "node/$node" || exit 0
"$@" uncordon "$node" && "$@" label node "$node" "$mark-"
