"""kube-proxy, which turns services into rules of each node's kernel."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.render import Target
from kubekeel.service import Service
from operations.converge import converge as _converge


@deploy("kube-proxy")
def converge(target: Target) -> None:
    kube_proxy = Service(
        unit="kube-proxy",
        files=render.kube_proxy(target),
        ready="/opt/kubekeel/bin/kubectl --kubeconfig=/dev/null --server=http://127.0.0.1:10249 get --raw /healthz",
    )
    _converge(name="kube-proxy", services=[kube_proxy])
