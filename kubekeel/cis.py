"""The controls of the CIS Kubernetes Benchmark 1.12, judged by what an auditor sees on the hosts of a cluster.

The numbers are the benchmark's, every word is our own. "Scored" are the controls that kube-bench's profile cis-1.12
can fail; of the others it tests some and leaves some to people.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

import yaml

from kubekeel.cluster import Cluster, Node
from kubekeel.needs import registered

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")

_HEALTH_PATHS = {"/livez", "/readyz", "/healthz"}
_STRONG_SUITES = {
    f"TLS_ECDHE_{key}_WITH_{cipher}"
    for key in ("ECDSA", "RSA")
    for cipher in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305")
} | {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
_STRONG_PROVIDERS = {"aescbc", "kms", "secretbox"}


# Evidence: one shell script's output, which shows no secret.


COLLECT = r"""
paths=$(mktemp) || exit 1
trap 'rm -f "$paths"' EXIT
values() { tr '\0' '\n' <"$1" | sed -n "s/^--\($2\)=//p"; }

for process in $(grep -lzE '(^|/)(etcd|kube-(apiserver|controller-manager|scheduler|proxy)|kubelet)$' \
  /proc/[0-9]*/cmdline 2>/dev/null); do
  printf 'process\t%s\n' "$(tr '\0\n' '\t ' <"$process" 2>/dev/null)"
  values "$process" '[a-z-]*' 2>/dev/null | grep '^/' >>"$paths"
  for path in $(values "$process" 'config\|authentication-config' 2>/dev/null); do
    printf 'configuration\t%s\t%s\n' "$path" "$(base64 <"$path" | tr -d '\n')"
  done
  for path in $(values "$process" encryption-provider-config 2>/dev/null); do
    # The names of the providers alone: the lines after them hold the keys.
    grep -A1 'providers:' "$path" | grep -oE '(aescbc|aesgcm|secretbox|kms|identity):' | sed 's/^/provider\t/; s/:$//'
  done
done

unit=$(systemctl show --property=FragmentPath --value kubelet.service)
printf 'unit\t%s\n' "$unit"
echo "$unit" >>"$paths"
for path in $(sort -u "$paths"); do
  find "$path" -maxdepth 0 -printf 'file\t%m\t%u:%g\t%p\n' 2>/dev/null
  case $path in *.crt) sha256sum "$path" 2>/dev/null | sed 's/^\([0-9a-f]*\) */digest\t\1\t/' ;; esac
done
find /etc/kubernetes /etc/etcd /etc/cni/net.d /var/lib/cni/networks ! -type l -printf 'file\t%m\t%u:%g\t%p\n' 2>/dev/null

export KUBECONFIG=/etc/kubernetes/admin.conf
[ -e $KUBECONFIG ] || exit 0
kubectl=$(command -v kubectl || echo /opt/kubekeel/bin/kubectl)
objects() { $kubectl get --all-namespaces "$1" -o jsonpath="{range .items[*]}$2{'\n'}{end}" | sed "s/^/$1\t/"; }
may() {
  printf 'anyone\t%s\t%s\n' "$*" \
    "$($kubectl auth can-i "$@" --all-namespaces --as=anyone --as-group=system:authenticated 2>/dev/null)"
}

t="{'\t'}"
objects clusterrolebindings "{.metadata.name}$t{.roleRef.name}$t{.subjects[*].name}"
objects rolebindings \
  "{.metadata.namespace}/{.metadata.name}$t{.roleRef.name}$t{range .subjects[*]}{.kind}:{.namespace}:{.name} {end}"
for kind in roles clusterroles; do
  objects $kind "{.metadata.namespace}/{.metadata.name}$t{.metadata.labels.kubernetes\.io/bootstrapping}$t{.rules}"
done
objects serviceaccounts "{.metadata.namespace}$t{.metadata.name}$t{.automountServiceAccountToken}"
containers="{.securityContext.privileged}/{.securityContext.allowPrivilegeEscalation}"
host="{.spec.hostPID}$t{.spec.hostIPC}$t{.spec.hostNetwork}"
account="{.spec.serviceAccountName}$t{.spec.automountServiceAccountToken}"
all="{range .spec.initContainers[*]}$containers {end}{range .spec.containers[*]}$containers {end}"
objects pods "{.metadata.namespace}$t{.metadata.name}$t$host$t$account$t$all"
may list secrets
may create pods
"""
"""Shell commands, to be run as root, whose output `Evidence.read` takes."""
