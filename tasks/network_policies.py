"""kube-network-policies, which enforces network policies."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.render import Target
from kubekeel.service import Service
from operations.converge import converge as _converge


def service(target: Target) -> Service:
    return Service(
        unit="kube-network-policies", files=render.network_policies(target), ready=render.check_network_policies()
    )


@deploy("network policies")
def converge(target: Target) -> None:
    """Start or update the service; call this once the add-ons let it read policies.

    It needs no turn: pods' traffic continues during its restart.
    """
    _converge(name="start kube-network-policies", services=[service(target)])
