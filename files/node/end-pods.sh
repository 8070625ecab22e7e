# Ends the pods of a host that will not run any more pods: end-pods.sh HOST POD_NETWORK. Needs the functions of undo.sh.
set -u
host=$1 pod_network=$2
end_pods "$pod_network"
left=$(left_of_pods | tr '\n' ' ')
[ -z "$left" ] || { echo "$host: could not remove all parts of its pods ($left); reboot it and deploy again"; exit 1; }
