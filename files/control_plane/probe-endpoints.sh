# Has the controllers make endpoints for a service of no pods: probe-endpoints.sh begin|found|end OWNER KUBECTL...
# They make none while no controller manager leads, and a pod that ends meanwhile goes on getting requests. `begin` makes
# the service, which stays until `end`; `found` asks whether it has endpoints. Each owner has its own service.
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
