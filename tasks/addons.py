"""What runs in the cluster for the cluster: DNS, metrics, the dashboard, and who may administer it."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.needs import registered
from kubekeel.render import Target
from operations.addons import addons


@deploy("add-ons")
def converge(target: Target) -> None:
    cluster, pki = target.cluster, target.pki

    def break_glass() -> bytes:
        return render.user_kubeconfig(
            cluster, "break-glass", pki.break_glass(), pki.authority("ca"), "https://127.0.0.1:7443"
        )

    addons(
        name="objects",
        manifests=render.addons(target),
        roles={
            "control-plane": [node.name for node in cluster.masters if registered(node, cluster)],
            "minion": [node.name for node in cluster.minions],
        },
        break_glass=break_glass,
    )
