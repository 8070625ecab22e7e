"""Frees etcd's disk space, and clears the alarm that its database is full."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from kubekeel.cluster import Cluster
from operations.etcd import ETCDCTL, etcdctl
from operations.members import endpoints
from operations.wait import reported, until

_PATIENCE = 30
_DEFRAGMENTING = "600s"
_ROOM = f"""
set -e
revision=$({ETCDCTL} endpoint status -w json | sed 's/.*"revision":\\([0-9]*\\).*/\\1/')
{ETCDCTL} compact $revision >/dev/null
"""
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


class Alarms(FactBase[list[str]]):
    """The alarms of all members: "memberID:1 alarm:NOSPACE"."""

    default = list

    def command(self) -> str:
        return f"{ETCDCTL} alarm list"

    def process(self, output: Iterable[str]) -> list[str]:
        return list(output)


@operation()
def compact() -> Generator[StringCommand, None, None]:
    """Compact all history if etcd has run out of room; otherwise the API servers compact it."""
    if any("NOSPACE" in alarm for alarm in host.get_fact(Alarms)):
        yield StringCommand(_ROOM)
    else:
        host.noop("has room")


@operation()
def defragment(leader: bool, cluster: Cluster) -> Generator[StringCommand, None, None]:
    """Return the free space in etcd's file to the file system; with `leader` on the leader, else on the followers.

    A member does not answer meanwhile: call this with `_serial=True`.
    """
    if host.get_fact(Leads) is not leader:
        host.noop("is the leader" if leader is False else "is not the leader")
        return
    # `endpoint health` would call a member with an alarm unhealthy.
    gate = " && ".join(f"{etcdctl(endpoints([member]))} get health" for member in cluster.etcd)
    wait = until(gate, _PATIENCE, f"{host.name}: {_NOT_ALL_HEALTHY}")
    yield from reported("the members of etcd", StringCommand(wait))
    yield from reported(
        "etcd to return its room", StringCommand(f"{ETCDCTL} --command-timeout={_DEFRAGMENTING} defrag")
    )


@operation()
def disarm() -> Generator[StringCommand, None, None]:
    """Clear the alarm that makes etcd refuse writes, once it has room."""
    if any("NOSPACE" in alarm for alarm in host.get_fact(Alarms)):
        yield StringCommand(f"{ETCDCTL} alarm disarm")
    else:
        host.noop("there is no alarm")
