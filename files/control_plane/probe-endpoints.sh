# Creates a service without pods, and asks whether it has endpoints: probe-endpoints.sh begin|found|end OWNER KUBECTL...
# While no controller manager leads, services send requests to pods that have ended. `begin` creates the service, which
# stays until `end`; `found` fails until the controller manager has made its endpoints. Each owner has its own service.
set -eu
step=$1 owner=$2
shift 2

end() {
  "$@" -n kube-system delete services -l "kubekeel-probe=$owner" --ignore-not-found >/dev/null
}

found() {
  name=$("$@" -n kube-system get services -l "kubekeel-probe=$owner" -o 'jsonpath={.items[0].metadata.name}')
  "$@" -n kube-system get endpointslices -l "kubernetes.io/service-name=$name" -o name | grep -q .
}

if [ "$step" = found ]; then
  found "$@"
  exit
fi
end "$@"
[ "$step" = begin ] || exit 0
"$@" create -f - >/dev/null <<END
{
  "apiVersion": "v1",
  "kind": "Service",
  "metadata": {"generateName": "kubekeel-probe-", "namespace": "kube-system", "labels": {"kubekeel-probe": "$owner"}},
  "spec": {"selector": {"kubekeel-probe": "none"}, "ports": [{"port": 1}]}
}
END
