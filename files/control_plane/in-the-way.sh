#!/bin/sh
# Prints what may hinder an upgrade, as one API server knows it: in-the-way.sh FOLDER KUBECTL...
#
# "budget NAMESPACE/NAME PODS" is a disruption budget that allows no eviction now. "deprecated LABELS" is a line of the API
# server's metric of deprecated APIs that clients used since its start. "user API USER, AGENT" is a client that used one,
# from the audit logs in FOLDER.
folder=$1
shift

"$@" get poddisruptionbudgets -A -o 'jsonpath={range .items[?(@.status.disruptionsAllowed==0)]}budget {.metadata.namespace}/{.metadata.name} {.status.expectedPods}{"\n"}{end}'
used=$("$@" get --raw /metrics | sed -n 's/^apiserver_requested_deprecated_apis{\(.*\)} 1$/deprecated \1/p')
[ -n "$used" ] || exit 0
echo "$used"
# The order of the fields is the API's own: audit.k8s.io/v1, Event.
cat "$folder"/*.log | grep -F '"k8s.io/deprecated":"true"' | sed -nE '
  s/.*"user":\{"username":"([^"]*)".*"userAgent":"([^" ]*).*"objectRef":\{"resource":"([^"]*)".*"apiGroup":"([^"]*)","apiVersion":"([^"]*)".*/user \4\/\5\/\3 \1, \2/p
' | sort -u
