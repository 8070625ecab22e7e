"""Frees etcd's disk space, and clears the alarm that its database is full."""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Iterable
from functools import cache
from threading import Lock

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel.cluster import Cluster
from kubekeel.membership import alarms, corrupt
from operations.converge import refuse
from operations.etcd import ETCDCTL, LOCAL, etcdctl
from operations.members import Members
from operations.members import disarm as disarm_left
from operations.wait import reported, until
from run.inventory import hosts_of, node_of

_NOSPACE = "NOSPACE"
_PATIENCE = 30
_DEFRAGMENTING = "600s"
_ROOM = f"""
set -e
revision=$({ETCDCTL} endpoint status -w json | sed 's/.*"revision":\\([0-9]*\\).*/\\1/')
{ETCDCTL} compact $revision >/dev/null
"""
# pyinfra prepares hosts side by side: the first one asks all of them, while the others wait.
_lock = Lock()
_NOT_ALL_HEALTHY = "is not defragmented, since meanwhile it does not answer, and another member is not healthy"


class Leads(FactBase[bool]):
    """Whether this host's member is etcd's leader."""

    default = bool

    def command(self) -> str:
        return f"{ETCDCTL} endpoint status -w json"

    def process(self, output: Iterable[str]) -> bool:
        (entry,) = json.loads("".join(output))
        status = entry["Status"]
        return bool(status["leader"] == status["header"]["member_id"])


class Alarms(FactBase[tuple[tuple[str, str], ...]]):
    """The IDs of members, and the names of their alarms."""

    default = tuple

    def command(self) -> str:
        return f"{ETCDCTL} alarm list"

    def process(self, output: Iterable[str]) -> tuple[tuple[str, str], ...]:
        return alarms(output)


def leading(state: State) -> Host | None:
    """Return the host whose member led when the run first asked; None if none did."""
    with _lock:
        return _leading(state)


@cache
def _leading(state: State) -> Host | None:
    members = (each for each in hosts_of(state) if "etcd" in node_of(each).roles)
    return next((each for each in members if each.get_fact(Leads)), None)


@operation()
def compact() -> Generator[StringCommand, None, None]:
    """Compact all history if etcd has run out of room; otherwise the API servers compact it."""
    raised = host.get_fact(Alarms)
    if _NOSPACE not in {alarm for _, alarm in raised}:
        host.noop("has room")
    elif refusal := _refusal(raised):
        yield refusal
    else:
        # While the alarm CORRUPT of a member that has left stands, etcd does not compact either.
        yield disarm_left(ETCDCTL)
        yield StringCommand(_ROOM)


@operation()
def defragment(leader: bool, cluster: Cluster) -> Generator[StringCommand, None, None]:
    """Return the free space in etcd's file to the file system; with `leader` on the leader, else on the followers.

    A member does not answer meanwhile, so another one may lead after it: the leader is who led at first. Call this with
    `_serial=True`.
    """
    if (host == leading(host.state)) is not leader:
        host.noop("is the leader" if leader is False else "is not the leader")
        return
    # `endpoint health` would call a member with an alarm unhealthy.
    gate = " && ".join(f"{etcdctl(member.client_url)} get health" for member in cluster.etcd)
    wait = until(gate, _PATIENCE, f"{host.name}: {_NOT_ALL_HEALTHY}")
    yield from reported("the members of etcd", StringCommand(wait))
    yield from reported(
        "etcd to free its unused space", StringCommand(f"{ETCDCTL} --command-timeout={_DEFRAGMENTING} defrag")
    )


@operation()
def disarm() -> Generator[StringCommand, None, None]:
    """Clear the alarm that makes etcd refuse writes, once it has room."""
    raised = host.get_fact(Alarms)
    if not raised:
        host.noop("there is no alarm")
    elif refusal := _refusal(raised):
        yield refusal
    else:
        yield StringCommand(f"{ETCDCTL} alarm disarm")


def _refusal(raised: Collection[tuple[str, str]]) -> StringCommand | None:
    """Return a refusal if a present member is corrupt: etcdctl clears all alarms, and its data would be used again."""
    present = host.get_fact(Members, endpoints=LOCAL)
    named = corrupt(raised, present)
    if not named:
        return None
    remedy = "remove that member: actions/remove_member.py --data member=NAME, deploy, and run this again"
    return refuse(f"{host.name}: the alarms of etcd are not cleared (CORRUPT: {'; '.join(named)}); {remedy}")
