"""What every host needs before any role: its place in the cluster, packages, kernel settings, folders, binaries."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from kubekeel import render
from kubekeel.needs import needs
from kubekeel.preflight import PACKAGES
from kubekeel.render import Target
from operations.node import note, prepare
from operations.preflight import seen
from operations.store import store


@deploy("node")
def converge(target: Target) -> None:
    prepare(
        name="packages, user, kernel settings, folders",
        files={**render.node(target), **render.carried(target, seen(host).identity)},
        commands=PACKAGES[target.cluster.kube_proxy_mode],
    )
    wanted = needs(target.node, target.cluster)
    store(
        name="binaries",
        artifacts=[target.supply.binary(name, wanted.arch) for name in sorted(wanted.binaries)],
    )


@deploy("node")
def finish(target: Target) -> None:
    """To be called when all roles of the host are done."""
    note(name="record versions", begun=render.carried(target, seen(host).identity), finished=render.carried(target))
