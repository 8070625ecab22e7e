#!/bin/sh
# Ends a master's static pods before a kubelet of another minor version starts: end-static-pods.sh HOST POD...
# That kubelet takes them for other pods: it would start those beside them, and give the running ones a second to end.
# The new kubelet starts in any case.
set -u
host=$1 bin=/opt/kubekeel/bin
shift

minor() {
  "$1" --version | sed 's/.* v\([0-9]*\.[0-9]*\)\..*/\1/'
}

process=$(systemctl show --property=MainPID --value kubelet.service)
[ "$process" != 0 ] || exit 0
[ "$(minor "/proc/$process/exe")" != "$(minor $bin/kubelet)" ] || exit 0
systemctl stop kubelet.service
for pod; do
  set -- --label io.kubernetes.pod.namespace=kube-system --label "io.kubernetes.pod.name=$pod-$host"
  $bin/crictl ps --quiet "$@" | xargs -r $bin/crictl stop --timeout 30 >/dev/null
done
