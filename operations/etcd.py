"""etcd's own users and roles, and Kubekeel's keys in etcd."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Iterable

from pyinfra import host
from pyinfra.api import FactBase, OperationError, StringCommand, operation

from kubekeel import etcd_access
from kubekeel.differences import Difference
from kubekeel.etcd_access import LEASES, NETWORK, RECORD, Access, NoSubnet, Plan, Record, Wanted
from kubekeel.render import BIN
from kubekeel.shell import script
from operations.converge import refuse
from operations.look import differs, see


def etcdctl(endpoints: str) -> str:
    """Return the command line of etcdctl as etcd's administrator, for any member's host."""
    return (
        f"{BIN}/etcdctl --endpoints={endpoints} --cacert=/etc/etcd/pki/ca.crt"
        " --cert=/etc/etcd/pki/root.crt --key=/etc/etcd/pki/root.key"
    )


LOCAL = "https://127.0.0.1:2379"
"""The endpoint of a member on its own host."""

ETCDCTL = etcdctl(LOCAL)
SERVES = f"{ETCDCTL} get health"
"""Whether this host's member serves; `endpoint health` calls every member unhealthy while one of them has an alarm."""
# By default etcdctl gives up after five seconds, too early on a slow host that has just started etcd.
_PATIENT = f"{ETCDCTL} --dial-timeout=30s --command-timeout=60s"

_DIFFER = Difference("users, rights or flannel's keys in etcd differ")

_AT_ONCE = 100
"""The calls of etcdctl in one command."""


class AccessSeen(FactBase[Access]):
    """etcd's users and roles with their rights, and flannel's keys; not `answered` without a quorum.

    Without users and roles if the record shows that they have this digest, and are unchanged.
    """

    default = Access

    def command(self, digest: str = "") -> str:
        return script(
            "etcd/access.sh",
            etcdctl=[ETCDCTL],
            digest=[digest or "none"],
            record_key=[RECORD],
            network_key=[f"{NETWORK}/config"],
            leases_key=[f"{LEASES}/"],
        )

    def process(self, output: Iterable[str]) -> Access:
        return etcd_access.read(output)


@operation()
def grant_access(wanted: Wanted) -> Generator[StringCommand, None, None]:
    """Turn etcd's authentication on, with this cluster's users and their rights, and write flannel's configuration."""
    try:
        yield from _apply(
            lambda seen: etcd_access.plan(seen, wanted), "access is as described", wanted.digest, must_write=True
        )
    except NoSubnet as error:
        raise OperationError(str(error)) from error


@operation()
def end_shared_access(wanted: Wanted) -> Generator[StringCommand, None, None]:
    """Delete the user that all nodes' flannels shared in earlier versions; each must have its own user by now."""
    yield from _apply(etcd_access.without_shared, "every node has a user of its own", wanted.digest)


@operation()
def delete_lease(node: str, address: str, wanted: Wanted) -> Generator[StringCommand, None, None]:
    """Delete the lease of a node's pod network, to which other nodes have routes, and its flannel's user.

    The node's flanneld must have ended. `address` is the node's address, empty if the inventory does not know it.
    """
    yield from _apply(lambda seen: etcd_access.without(node, address, seen, wanted), "etcd has nothing of its flannel")


def _write(record: Record) -> str:
    """Return shell lines that write the record with etcd's present auth revision."""
    lines = (
        f"revision=$({_PATIENT} auth status | sed -n 's/^AuthRevision: //p')",
        f'{_PATIENT} put {RECORD} "granted $revision {record.digest}',
        *record.lines,
        '"',
    )
    return "\n".join(lines)


def _apply(
    planned: Callable[[Access], Plan], otherwise: str, digest: str = "", must_write: bool = False
) -> Generator[StringCommand, None, None]:
    """Yield the commands of a plan; `must_write` refuses an etcd that takes no writes, also if it needs none now."""
    seen = see(host, AccessSeen, digest=digest)
    if not seen.answered:
        # The run's first look may have come before etcd had a quorum.
        seen = host.get_fact(AccessSeen, digest=digest)
    if not seen.answered:
        differs(host, [_DIFFER])
        yield refuse(f"{host.name}: no quorum of etcd answers; see the journal of etcd there, then run this again")
        return
    if must_write and seen.alarms:
        yield refuse("\n".join(f"{host.name}: {complaint}" for complaint in etcd_access.complaints(seen)))
        return
    plan = planned(seen)
    if not plan.steps and plan.record is None:
        host.noop(otherwise)
        return
    differs(host, [_DIFFER])
    calls = [f"{_PATIENT} {shlex.join(step)}" for step in plan.steps]
    if plan.record is not None:
        calls.append(_write(plan.record))
    # Linux takes 128 KiB as one argument (MAX_ARG_STRLEN), and a shell's command is one.
    for first in range(0, len(calls), _AT_ONCE):
        yield StringCommand("\n".join(["set -eu", *calls[first : first + _AT_ONCE]]))
