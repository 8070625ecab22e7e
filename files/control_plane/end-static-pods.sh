#!/bin/sh
# Ends a master's static pods before a kubelet of another minor version starts: end-static-pods.sh STOP
# The new kubelet would not recognize them: it would start other pods beside them, and end them after one second.
# STOP is the shell command that stops their containers.
set -u
bin=/opt/kubekeel/bin

minor() {
  "$1" --version | sed 's/.* v\([0-9]*\.[0-9]*\)\..*/\1/'
}

process=$(systemctl show --property=MainPID --value kubelet.service)
[ "$process" != 0 ] || exit 0
[ "$(minor "/proc/$process/exe")" != "$(minor $bin/kubelet)" ] || exit 0
systemctl stop kubelet.service
sh -c "$1" >/dev/null
# A failure must not keep the new kubelet from starting.
exit 0
