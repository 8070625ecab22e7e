# Prints the evidence for an audit on a host, without secrets: on each line a word and its fields, with tabs between
# them; kubekeel/cis/evidence.py reads them.
paths=
arguments() { tr '\0' '\n' <"$1" | sed -n "s/^--\($2\)=//p"; }

# Any pod may have a process called etcd or kubelet. Ours are those of systemd's units and of the static pods, which
# kubelet alone can mark as such: it writes where a pod comes from over what the pod says (its config package).
crictl() { /opt/kubekeel/bin/crictl "$@"; }
static_containers() {
  for pod in $(crictl pods --namespace kube-system --state ready --quiet); do
    source=$(crictl inspectp --output go-template \
      --template '{{index .status.annotations "kubernetes.io/config.source"}}' "$pod")
    [ "$source" != file ] || crictl ps --pod "$pod" --quiet
  done
}
ours() {
  for unit in etcd kubelet kube-proxy; do systemctl show --property=MainPID --value $unit.service; done
  for container in $(static_containers); do
    crictl inspect --output go-template --template '{{.info.pid}}' "$container"
  done
}

for number in $(ours); do
  process=/proc/$number/cmdline
  [ -e "$process" ] || continue
  printf 'process\t%s\n' "$(tr '\0\n' '\t ' <"$process")"
  paths="$paths $(arguments "$process" '[a-z-]*' | grep '^/')"
  for path in $(arguments "$process" 'config\|authentication-config') \
    $(arguments "$process" config-dir | xargs -r -I '{}' find '{}' -name '*.conf'); do
    printf 'configuration\t%s\t%s\n' "$path" "$(base64 <"$path" | tr -d '\n')"
  done
  for path in $(arguments "$process" encryption-provider-config); do
    # The name after each "providers:", and nothing else: the keys are further down.
    grep -A1 'providers:' "$path" | grep -oE '[a-z]+:$' | sed -n '/^providers:$/!s/^\(.*\):$/provider\t\1/p'
  done
done

unit=$(systemctl show --property=FragmentPath --value kubelet.service)
printf 'unit\t%s\n' "$unit"
show='file\t%m\t%u:%g\t%p\n'
find -H /etc/kubernetes ! -type l -printf "$show"
find -H /etc/etcd/etcd.conf /etc/cni/net.d /var/lib/cni/networks -type f -printf "$show"
for path in $paths $unit; do
  find "$path" -maxdepth 0 -printf "$show"
  case $path in *.crt) sha256sum "$path" | sed 's/^\([0-9a-f]*\) */digest\t\1\t/' ;; esac
done

export KUBECONFIG=/etc/kubernetes/admin.conf
[ -e $KUBECONFIG ] || exit 0
kubectl="$(command -v kubectl || echo /opt/kubekeel/bin/kubectl) --request-timeout=20s"
list() {
  rows=$($kubectl get --all-namespaces "$1" -o jsonpath="{range .items[*]}$2{'\n'}{end}") || return
  printf 'listed\t%s\n' "$1"
  [ -z "$rows" ] || printf '%s\n' "$rows" | sed "s/^/$1\t/"
}
anyone() {
  may=$($kubectl auth can-i "$@" --all-namespaces --as=anyone --as-group=system:authenticated)
  printf 'listed\tanyone\nanyone\t%s\t%s\n' "$*" "$may"
}

name='{.metadata.namespace}/{.metadata.name}'
t="{'\t'}"
for kind in rolebindings clusterrolebindings; do
  list $kind "$name$t{.roleRef.name}$t{range .subjects[*]}{.kind}:{.namespace}:{.name} {end}"
done
for kind in roles clusterroles; do
  list $kind "$name$t{.metadata.labels.kubernetes\.io/bootstrapping}$t{.rules}"
done
list serviceaccounts "$name$t{.automountServiceAccountToken}"
container="{.securityContext.privileged}/{.securityContext.allowPrivilegeEscalation} "
list pods "$name$t{.spec.hostPID}$t{.spec.hostIPC}$t{.spec.hostNetwork}$t{.spec.automountServiceAccountToken}$t\
{.spec.serviceAccountName}$t{range .spec.initContainers[*]}$container{end}{range .spec.containers[*]}$container{end}"
anyone list secrets
anyone create pods
