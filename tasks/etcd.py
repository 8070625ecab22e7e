"""etcd: one member on each host of its group, with a certificate for each of its clients."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from kubekeel import render
from kubekeel.render import Target
from kubekeel.service import Service
from kubekeel.shell import script
from operations.converge import restart_in_turn
from operations.etcd import ETCDCTL, SERVES, grant_access
from operations.joining import join
from operations.members import member, promote
from operations.snapshots import catch_up, snapshot, upgrade
from operations.target import first

_EXPLAIN = script("etcd/explain.sh", etcdctl=[ETCDCTL])


def service(target: Target) -> Service:
    return Service(
        unit="etcd",
        files=render.etcd(target),
        ready=SERVES,
        explain=_EXPLAIN,
        # The data that arrives from other members.
        progress="du -sk /var/lib/etcd/member/snap",
        advance=promote(target.node, target.cluster),
    )


@deploy("etcd")
def converge(target: Target) -> None:
    etcd = service(target)
    if target.node == first("etcd") and (change := upgrade(host.state)):
        snapshot(name="take a snapshot before an upgrade", reason=f"another version of {change}")
    # All at once: no member is ready before most of them are.
    written = member(name="set up the member", service=etcd, tools=render.etcd_tools(target), cluster=target.cluster)
    join(
        name="join members one by one",
        service=etcd,
        node=target.node,
        cluster=target.cluster,
        _if=written.did_change,
        _serial=True,
    )
    restart_in_turn(
        name="restart members one by one",
        service=etcd,
        gate=f"{ETCDCTL} endpoint health --cluster",
        _if=written.did_change,
        _serial=True,
    )
    if target.node == first("etcd"):
        grant_access(name="grant access", wanted=render.etcd_content(target.cluster))


@deploy("etcd")
def finish(_: Target) -> None:
    """Replace a snapshot that failed or is too old, after all else: a disk that is full stops nothing but this."""
    catch_up(name="take an overdue snapshot")
