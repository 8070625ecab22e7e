"""Nodes follow the API again after all API servers were away: before that, no service would notice a drained node."""

from __future__ import annotations

import json
from collections.abc import Generator

from pyinfra import host
from pyinfra.api import StringCommand, operation

from operations.kubectl import KUBECTL
from operations.wait import reported, until

_PATIENCE = 120
# kube-proxy counts all changes of endpoints that it hears of, whichever service they are of.
_HEARD = (
    "/opt/kubekeel/bin/kubectl --kubeconfig=/dev/null --server=http://127.0.0.1:10249 get --raw /metrics |"
    " awk '/^kubeproxy_sync_proxy_rules_endpoint_changes_total/ { print $2 }'"
)
_BEFORE = "/run/kubekeel-endpoint-changes"
_NAME = "kubekeel-upgrade"
_FORGET = f"{KUBECTL} -n kube-system delete endpointslice --ignore-not-found {_NAME}"
_CHANGE = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": _NAME, "namespace": "kube-system", "labels": {"kubernetes.io/service-name": _NAME}},
    "addressType": "IPv4",
    "endpoints": [],
}


@operation()
def count() -> Generator[StringCommand, None, None]:
    """Write down how many changes of endpoints the node's kube-proxy has heard of."""
    yield StringCommand(f"{_HEARD} >{_BEFORE}")


@operation()
def change() -> Generator[StringCommand, None, None]:
    """Change endpoints that are of no service, and leave the change there: who was away lists them all; on a master."""
    yield StringCommand(f"{_FORGET} && {KUBECTL} create -f - <<'END'\n{json.dumps(_CHANGE)}\nEND")


@operation()
def follow() -> Generator[StringCommand, None, None]:
    """Wait until the node's kube-proxy has heard of that change."""
    heard = f"{_HEARD} | awk -v before=\"$(cat {_BEFORE})\" '{{ exit !($1 > before) }}'"
    complaint = f"{host.name}: kube-proxy does not follow the API; see its journal, then deploy again"
    yield from reported("kube-proxy to follow the API", StringCommand(until(heard, _PATIENCE, complaint)))
    yield StringCommand("rm", "-f", _BEFORE)


@operation()
def forget() -> Generator[StringCommand, None, None]:
    """Take that change back; on a master."""
    yield StringCommand(_FORGET)
