"""Hosts join etcd as members."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from pyinfra import host, state
from pyinfra.api import FunctionCommand, StringCommand, operation

from kubekeel.cluster import Cluster, Node, endpoints
from kubekeel.membership import FOUNDING, JOINING, Refused, admission, hindrances
from kubekeel.render import etcd_first_start
from kubekeel.service import Service
from operations.converge import converge, refuse
from operations.etcd import etcdctl
from operations.members import FIRST_START, Disk, Members, add, disarm, on_disks, remove
from operations.shell import run
from operations.snapshots import taking
from operations.wait import reported

# Seconds without new data from the other members, and seconds for them to elect a leader before that.
_JOIN_PATIENCE, _QUORUM_PATIENCE = 300, 60


@operation()
def join(service: Service, node: Node, cluster: Cluster) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Make this host a member of the existing cluster, after a snapshot of another one, unless it has data.

    Call this with `_serial=True`.
    """
    if host.get_fact(Disk).data:
        host.noop("is a member")
        return
    others = endpoints(other for other in cluster.etcd if other != node)
    there = host.get_fact(Members, endpoints=others, patience=_QUORUM_PATIENCE) if others else ()
    if not there:
        first_start = etcd_first_start(cluster, FOUNDING, cluster.etcd_initial_cluster).content.decode()
        yield refuse(_no_quorum(node.name, hindrances(on_disks(state, cluster), first_start)))
        return
    try:
        admitted = admission(node, {each.name for each in cluster.etcd}, there)
    except Refused as refused:
        yield refuse(str(refused))
        return
    yield taking("a member joins etcd", node.name)
    yield run(("node/undo.sh", "etcd/clear-member.sh"), node.name)
    for number in admitted.removed:
        yield from reported("etcd to change its members", remove(number, etcdctl(others)))
    yield disarm(etcdctl(others))
    yield from reported("etcd to change its members", add(node, etcdctl(others)))
    yield from converge._inner(
        services=[replace(service, patience=_JOIN_PATIENCE)],
        files={FIRST_START: etcd_first_start(cluster, JOINING, admitted.initial_cluster)},
    )


def _no_quorum(name: str, obstacles: Sequence[str]) -> str:
    return (
        f"{name}: has no etcd data, no quorum of the other members answers, and it cannot start a new cluster"
        f" ({', '.join(obstacles)}); start the other members, deploy to all of them at once, or bring the"
        " cluster back from a backup: actions/restore.py"
    )
