"""The cluster's own add-ons: DNS, metrics, the dashboard; and its administrators' rights."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.needs import registered
from kubekeel.nodes import wanted
from kubekeel.render import Target
from operations.addons import addons, available
from operations.target import present


@deploy("add-ons")
def converge(target: Target) -> None:
    cluster, pki = target.cluster, target.pki

    def break_glass() -> bytes:
        return render.user_kubeconfig(
            cluster, "break-glass", pki.break_glass(), pki.authority("ca"), "https://127.0.0.1:7443"
        )

    addons(
        name="apply add-ons",
        manifests=render.addons(target),
        states=wanted(cluster),
        left=[node.name for node in cluster.nodes if node in present() and not registered(node, cluster)],
        changed=[node.name for node in present()],
        break_glass=break_glass,
        condition=available(cluster),
    )
