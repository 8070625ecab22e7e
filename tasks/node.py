"""The needs of every host before any role: its cluster's identity, packages, kernel settings, folders, binaries."""

from __future__ import annotations

from dataclasses import replace

from pyinfra import host
from pyinfra.api import deploy

from kubekeel import render
from kubekeel.artifacts import Artifact
from kubekeel.delivery import server
from kubekeel.needs import ETCD, in_order_of_need, needs
from kubekeel.preflight import packages
from kubekeel.render import Target
from kubekeel.replaced import replaced
from operations.node import note, prepare
from operations.preflight import seen
from operations.store import discard, store
from operations.target import first
from tasks.containerd import images


@deploy("node")
def converge(target: Target, beside: bool = False) -> None:
    """Prepare a host; with `beside` its binaries, but those for a member of etcd, arrive beside the later operations.

    Members of etcd start together, and none waits long for another one.
    """
    files = {**render.node(target), **render.carried(target, seen(host).identity)}
    # Masters list a certificate before any host gets it.
    listed = render.issued(target) if "masters" in target.node.roles else {}
    prepare(
        name="set up packages, user, kernel settings, folders",
        files={**files, **listed},
        commands=packages(target.node, target.cluster),
    )
    binaries = _binaries(target)
    now = ETCD if "etcd" in target.node.roles else frozenset[str]()
    later = {binary.name for binary in binaries} - now if beside else set[str]()
    store(
        name="install binaries",
        artifacts=binaries,
        server=server(target.cluster),
        packing=target.machine.packing,
        beside=later,
    )


def _binaries(target: Target) -> list[Artifact]:
    wanted = needs(target.node, target.cluster)
    return [target.supply.binary(name, wanted.arch) for name in in_order_of_need(wanted.binaries)]


@deploy("node")
def finish(target: Target) -> None:
    """Record the versions; call this when all roles of the host are done."""
    note(name="record versions", begun=render.carried(target, seen(host).identity), finished=render.carried(target))


@deploy("node")
def tidy(target: Target) -> None:
    """Remove replaced binaries and images; call this when the add-ons are up to date, too."""
    left = replaced(
        seen(host).held,
        binaries=[f"{binary.sha256}/{binary.name}" for binary in _binaries(target)],
        images=[image.reference for image in images(target)],
        kubernetes_version=target.cluster.kubernetes_version,
    )
    # A run without a master does not change add-ons, and so keeps their images.
    discard(name="remove replaced binaries and images", left=left if first("masters") else replace(left, images=()))
