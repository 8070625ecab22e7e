# Has the controllers make endpoints for a service of no pods: probe-endpoints.sh begin|end OWNER KUBECTL...
# They make none while no controller manager leads, and a pod that ends meanwhile goes on getting requests. `begin` ends
# once they have made them, and leaves the service there until `end`. Each owner has its own service.
set -eu
step=$1 owner=$2
shift 2

end() {
  "$@" -n kube-system delete services -l "kubekeel-probe=$owner" --ignore-not-found >/dev/null
}

end "$@"
[ "$step" = begin ] || exit 0
name=$("$@" create -f - -o 'jsonpath={.metadata.name}' <<END
{
  "apiVersion": "v1",
  "kind": "Service",
  "metadata": {"generateName": "kubekeel-probe-", "namespace": "kube-system", "labels": {"kubekeel-probe": "$owner"}},
  "spec": {"selector": {"kubekeel-probe": "none"}, "ports": [{"port": 1}]}
}
END
)
waited=0
until "$@" -n kube-system get endpointslices -l "kubernetes.io/service-name=$name" -o name 2>/dev/null | grep -q .; do
  if [ "$waited" -ge 180 ]; then
    echo "services: get no endpoints, so pods that end would go on getting requests; see the log of the controller manager" >&2
    end "$@"
    exit 1
  fi
  waited=$((waited + 1))
  sleep 1
done
