"""flannel: a network between the pods of all nodes; its configuration and leases are in etcd."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.render import Target
from kubekeel.service import Service
from operations.converge import converge as _converge


def service(target: Target) -> Service:
    return Service(
        unit="flanneld",
        files=render.flannel(target),
        ready="test -s /run/flannel/subnet.env && test -s /etc/cni/net.d/10-flannel.conflist",
    )


@deploy("flannel")
def converge(target: Target) -> None:
    _converge(name="flanneld", services=[service(target)])
