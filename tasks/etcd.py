"""etcd: one member on each host of its group, with a certificate for each of its clients."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from kubekeel import render
from kubekeel.files import Tree
from kubekeel.render import Target
from kubekeel.service import Service
from kubekeel.shell import script
from kubekeel.upgrade import is_of_another_minor
from operations.converge import restart_in_turn
from operations.etcd import ETCDCTL, SERVES, grant_access
from operations.joining import join
from operations.members import PREVIOUS, member, promote
from operations.preflight import running
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


def kept(target: Target, files: Tree) -> list[str]:
    """Return the files that are restored if a member does not serve after a change.

    None if its minor version changes: etcd's data may be too new for the previous one. Never the revocation list.
    """
    if is_of_another_minor("etcd", target.node, target.cluster, running(host.state)):
        return []
    return [path for path in files if path not in render.etcd_revocations(target.pki)]


@deploy("etcd")
def converge(target: Target) -> None:
    etcd = service(target)
    if target.node == first("etcd") and (change := upgrade(host.state)):
        snapshot(name="take a snapshot before an upgrade", reason=f"another version of {change}")
    # All at once: no member is ready before most of them are.
    written = member(
        name="set up the member",
        service=etcd,
        tools=render.etcd_tools(target),
        cluster=target.cluster,
        kept=kept(target, etcd.files),
    )
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
        kept=PREVIOUS,
        _if=written.did_change,
        _serial=True,
    )
    if target.node == first("etcd"):
        grant_access(name="grant access", wanted=render.etcd_content(target.cluster))


@deploy("etcd")
def finish(_: Target) -> None:
    """Replace a snapshot that failed or is too old, after all else: a disk that is full stops nothing but this."""
    catch_up(name="take an overdue snapshot")
