"""containerd, runc, and the images of Kubekeel's own pods."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.artifacts import Image
from kubekeel.delivery import server
from kubekeel.needs import in_order_of_need, needs
from kubekeel.render import Target
from kubekeel.service import Service
from operations.converge import converge as _converge
from operations.registries import registries as _registries
from operations.static_pods import CRICTL
from operations.store import import_images
from operations.store import wait_for_images as _wait_for_images


def service(target: Target) -> Service:
    return Service(unit="containerd", files=render.containerd(target), ready=f"{CRICTL} version")


def images(target: Target) -> list[Image]:
    """Return the images of Kubekeel's own pods on the node, and the user's own images."""
    wanted = needs(target.node, target.cluster)
    own = target.supply.own.get(wanted.arch, ()) if target.registered else ()
    return [*(target.supply.image(name, wanted.arch) for name in in_order_of_need(wanted.images)), *own]


@deploy("containerd")
def converge(target: Target) -> None:
    _converge(name="start containerd", services=[service(target)], files=render.containerd_tools(target))
    import_images(
        name="import images",
        images=images(target),
        server=server(target.cluster),
        packing=target.machine.packing,
        beside=True,
    )


@deploy("containerd")
def wait_for_images(_: Target) -> None:
    """Wait until a new node has its images; call this before it gets pods."""
    _wait_for_images(name="wait for images")


@deploy("containerd")
def reach_registries(target: Target) -> None:
    """Write the files of registries; containerd reads them at each pull, without a restart."""
    _registries(name="write registries", files=render.own_registries(target))


@deploy("containerd")
def bring_images(target: Target) -> None:
    """Import images before any service changes; call this where containerd runs."""
    import_images(
        name="import images",
        images=images(target),
        server=server(target.cluster),
        packing=target.machine.packing,
    )
