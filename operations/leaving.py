"""Removes members from etcd."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cache

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.state import State

from kubekeel import membership
from kubekeel.cluster import Cluster
from kubekeel.membership import Departure, Member, Refused, addresses, leaving
from kubekeel.preflight import HostSeen, Unseen, members_seen
from operations.converge import refuse
from operations.etcd import ETCDCTL, LOCAL
from operations.members import Members, disarm, remove
from operations.preflight import looks
from operations.snapshots import taking
from run.closing import refusal
from run.inventory import cluster_of


def departure(state: State, wanted: str) -> Departure:
    """Return how the member with this name, address or ID leaves; raises DeployError if it cannot leave."""
    looks(state)
    found = _departure(state, wanted)
    if found is None:
        raise refusal(1, "operations/nodes.md")
    return found


# Cached, so that the fault is logged once, not for each host.
@cache
def _departure(state: State, wanted: str) -> Departure | None:
    cluster, seen = cluster_of(state.inventory), looks(state)
    knowing = {node.name: there for node, there in members_seen(cluster, seen).items()}
    holding = [name for name, look in seen.items() if isinstance(look, HostSeen) and (look.etcd.data or look.etcd_keys)]
    try:
        found = membership.departure(wanted, addresses(cluster.nodes), knowing, holding)
        if isinstance(away := seen.get(found.off), Unseen):
            remedy = f"start it, or, if it is gone for good, leave it out: --exclude {found.off}"
            raise Refused(f"{found.off}: is unreachable ({away.said}); {remedy}")
    except Refused as refused:
        logger.error(refused)
        return None
    return found


@operation()
def may_leave(member: str, cluster: Cluster) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Fail, before any change, if etcd would lose its quorum without this member."""
    yield from _leaving(member, cluster, then=lambda _: ())


@operation()
def leave(member: str, cluster: Cluster) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Remove this member if it exists, after a snapshot of another one.

    For a host on which a quorum of the other members answers.
    """
    yield from _leaving(member, cluster, then=_steps)


def _steps(own: Member) -> Sequence[StringCommand | FunctionCommand]:
    return taking("a member leaves etcd", own.name), remove(own.id, ETCDCTL), disarm(ETCDCTL)


def _leaving(
    member: str, cluster: Cluster, then: Callable[[Member], Sequence[StringCommand | FunctionCommand]]
) -> Iterator[StringCommand | FunctionCommand]:
    there = host.get_fact(Members, endpoints=LOCAL)
    if not there:
        yield refuse(f"{host.name}: no quorum of etcd answers; start its members, or restore a backup")
        return
    try:
        own = leaving(member, addresses(cluster.nodes), there)
    except Refused as refused:
        yield refuse(str(refused))
        return
    commands = then(own) if own else ()
    if not commands:
        host.noop("is not a member" if own is None else "may leave")
    yield from commands
