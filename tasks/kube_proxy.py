"""kube-proxy, which turns services into rules of each node's kernel."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.render import Target
from kubekeel.service import Service
from operations.converge import converge as _converge


def service(target: Target) -> Service:
    return Service(
        unit="kube-proxy",
        files=render.kube_proxy(target),
        ready="/opt/kubekeel/bin/kubectl --kubeconfig=/dev/null --server=http://127.0.0.1:10249 get --raw /healthz",
    )


@deploy("kube-proxy")
def converge(target: Target) -> None:
    _converge(name="kube-proxy", services=[service(target)])
