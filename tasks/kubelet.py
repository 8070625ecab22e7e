"""kubelet, and the balancer by which everything on a node reaches the API servers."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.render import Target
from kubekeel.service import Service
from operations.converge import converge as _converge


def services(target: Target, also: str = "true", explain: str = "true") -> list[Service]:
    """The balancer and the kubelet of a node, which is ready when it is Ready to its cluster and `also` holds."""
    alive = "/opt/kubekeel/bin/kubectl --kubeconfig=/dev/null --server=http://127.0.0.1:10248 get --raw /healthz"
    look = (
        "/opt/kubekeel/bin/kubectl --kubeconfig=/etc/kubernetes/kubelet.conf"
        f" get --raw /api/v1/nodes/{target.node.name}"
    )
    ready = f"""node=$({look}) && echo "$node" | grep -q '"type":"Ready","status":"True"'"""
    return [
        Service(unit="api-balancer", files=render.api_balancer(target), ready="true"),
        Service(
            unit="kubelet",
            files=render.kubelet(target),
            ready=" && ".join((alive, also, ready) if target.registered else (also,)),
            patience=240,
            explain="\n".join((explain, f"""{look} | grep -o '"type":"Ready".*'""")),
        ),
    ]


@deploy("kubelet")
def converge(target: Target) -> None:
    _converge(name="kubelet", services=services(target), files=render.kubectl(target))
