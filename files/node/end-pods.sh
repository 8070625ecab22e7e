# Ends the pods of a host that is to run none any more: end-pods.sh HOST POD_NETWORK. Has undo.sh before it.
set -u
host=$1 pod_network=$2
end_pods "$pod_network"
left=$(left_of_pods | tr '\n' ' ')
[ -z "$left" ] || { echo "$host: not everything of its pods is gone ($left); reboot it and deploy again"; exit 1; }
