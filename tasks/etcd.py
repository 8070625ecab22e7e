"""etcd: one member on each host of its group, with a certificate for everyone who speaks to it."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.render import Target
from kubekeel.service import Service
from operations.converge import converge as _converge
from operations.converge import restart_in_turn
from operations.etcd import ETCDCTL, grant_access


@deploy("etcd")
def converge(target: Target) -> None:
    member = Service(
        unit="etcd",
        files=render.etcd(target),
        ready=f"{ETCDCTL} endpoint health",
        explain=f"{ETCDCTL} member list",
    )
    # All at once: a member is not ready before most of them are.
    written = _converge(name="member", services=[member], files=render.etcd_tools(target), roll=True)
    restart_in_turn(
        name="restart in turn",
        service=member,
        gate=f"{ETCDCTL} --endpoints={target.cluster.etcd_endpoints} endpoint health",
        _if=written.did_change,
        _serial=True,
    )
    if target.node == target.cluster.etcd[0]:
        grant_access(name="access", flannel_network=render.flannel_network(target.cluster))
