"""kube-proxy, which turns services into rules in each node's kernel."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.render import KUBE_PROXY_METRICS_PORT, Target
from kubekeel.service import Service
from operations.converge import converge as _converge
from operations.kubectl import BARE, kubectl

_LIMIT = "--request-timeout=5s"


def service(target: Target) -> Service:
    alive = f"{BARE} {_LIMIT} --server=http://127.0.0.1:{KUBE_PROXY_METRICS_PORT} get --raw /healthz"
    # The API servers' own service has an address on every node, and certificates that name it.
    api = f"https://{target.cluster.api_service_address}"
    answers = f"{kubectl('/etc/kubernetes/kube-proxy.conf')} {_LIMIT} --server={api} get --raw /livez"
    check = render.check_kube_proxy(target)
    return Service(
        unit="kube-proxy",
        files=render.kube_proxy(target),
        ready=f"{alive} && {check} && {answers}",
    )


@deploy("kube-proxy")
def converge(target: Target) -> None:
    _converge(name="start kube-proxy", services=[service(target)])
