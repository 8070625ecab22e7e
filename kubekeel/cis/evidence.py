"""The evidence for an audit on a host, without secrets."""

from __future__ import annotations

from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import yaml

from kubekeel.components import merged

COLLECT = r"""
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
"""
"""Shell commands for root; `Evidence.read` parses their output, which has no secret."""

_COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")


@dataclass(frozen=True)
class FileSeen:
    mode: int
    owner: str


@dataclass(frozen=True)
class Evidence:
    """The evidence on one host.

    `arguments` has the arguments of each running component, `configurations` the parsed files that they name, by path.
    `rows` has the fields of all objects of each kind that could be listed; only a master can list objects.
    """

    arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, FileSeen] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    configurations: Mapping[str, Any] = field(default_factory=dict)
    providers: tuple[str, ...] = ()
    kubelet_unit: str = ""
    rows: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, lines: Iterable[str]) -> Evidence:
        """Return the evidence in the output of COLLECT."""
        rows: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
        for line in lines:
            kind, *fields = line.split("\t")
            rows[kind].append(tuple(fields))
        return cls(
            arguments=dict(filter(None, map(_component, rows["process"]))),
            files={path: FileSeen(int(mode, 8), owner) for mode, owner, path in rows["file"]},
            digests={path: digest for digest, path in rows["digest"]},
            configurations={path: yaml.safe_load(b64decode(text)) for path, text in rows["configuration"]},
            providers=tuple(provider for [provider] in rows["provider"]),
            kubelet_unit=next((path for [path] in rows["unit"]), ""),
            rows={kind: tuple(rows[kind]) for [kind] in rows["listed"]},
        )

    def argument(self, component: str, name: str) -> str | None:
        """Return the last value of an argument; None if it is missing, or if the component does not run."""
        value = None
        for argument, after in pairwise((*self.arguments.get(component, ()), "--")):
            flag, equals, text = argument.partition("=")
            if flag == f"--{name}":
                value = text if equals else "true" if after.startswith("--") else after
        return value

    def configuration(self, component: str) -> Any:
        """Return a component's --config file, parsed and merged with the files of its --config-dir."""
        found = self.configurations.get(self.argument(component, "config") or "") or {}
        folder = f"{self.argument(component, 'config-dir') or 'none'}/"
        for path in sorted(self.configurations):
            if path.startswith(folder):
                found = merged(found, self.configurations[path])
        return found


def _component(command: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
    name, arguments = PurePosixPath(command[0]).name, tuple(filter(None, command[1:]))
    # The API's balancer is `etcd gateway`.
    if name not in _COMPONENTS or arguments[:1] == ("gateway",):
        return None
    return name, arguments
