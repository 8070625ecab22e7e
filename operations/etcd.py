"""etcd's own users and roles, and the keys Kubekeel writes into it."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterable

from pyinfra import host
from pyinfra.api import FactBase, OperationError, StringCommand, operation

from kubekeel import etcd_access
from kubekeel.differences import Difference
from kubekeel.etcd_access import LEASES, NETWORK, RECORD, Access, NoSubnet, Plan, Wanted
from operations.look import differs, see


def etcdctl(endpoints: str) -> str:
    """etcdctl as etcd's administrator, on any member's host."""
    return (
        f"/opt/kubekeel/bin/etcdctl --endpoints={endpoints} --cacert=/etc/etcd/pki/ca.crt"
        " --cert=/etc/etcd/pki/root.crt --key=/etc/etcd/pki/root.key"
    )


ETCDCTL = etcdctl("https://127.0.0.1:2379")
# Of itself etcdctl gives up after five seconds, and a slow host has just started etcd.
_PATIENT = f"{ETCDCTL} --dial-timeout=30s --command-timeout=60s"

# Users and roles are two commands for each node: only where the record does not show that they are as they were made.
_LOOK = f"""
etcdctl() {{ {ETCDCTL} "$@" 2>/dev/null; }}
status=$(etcdctl auth status | sed -n 's/^Authentication Status: /auth /p; s/^AuthRevision: /revision /p')
record=$(etcdctl get --print-value-only {RECORD})
printf '%s\\n' "$status" "$record"
echo "network $(etcdctl get --print-value-only {NETWORK}/config | tr -d '\\n')"
echo "leases $(etcdctl get --prefix {LEASES}/ -w json)"
echo "$record" | grep -qxF "granted $(echo "$status" | sed -n 's/^revision //p') $digest" || {{
  for user in $(etcdctl user list); do echo "user $user $(etcdctl user get "$user" -w json)"; done
  for role in $(etcdctl role list); do echo "role $role $(etcdctl role get "$role" -w json)"; done
}}
true
"""


class AccessSeen(FactBase[Access]):
    """Who may do what in etcd, and what flannel keeps there.

    Without its users and roles where the record shows that those with this digest were made, and are as they were.
    """

    default = Access

    def command(self, digest: str = "") -> str:
        return f"digest={digest or 'none'}{_LOOK}"

    def process(self, output: Iterable[str]) -> Access:
        return etcd_access.read(output)


@operation()
def grant_access(wanted: Wanted) -> Generator[StringCommand, None, None]:
    """Turn etcd's authentication on, with this cluster's users and their rights, and write what flannel goes by."""
    seen = see(host, AccessSeen, digest=wanted.digest)
    try:
        plan = etcd_access.plan(seen, wanted)
    except NoSubnet as error:
        raise OperationError(str(error)) from error
    yield from _carried_out(plan, "access is as described")


@operation()
def end_shared_access(wanted: Wanted) -> Generator[StringCommand, None, None]:
    """Delete the user that all nodes' flannels had in earlier versions; all of them must have their own by now."""
    yield from _carried_out(
        etcd_access.without_shared(see(host, AccessSeen, digest=wanted.digest)), "every node has a user of its own"
    )


@operation()
def delete_lease(node: str, address: str, wanted: Wanted) -> Generator[StringCommand, None, None]:
    """Free the network that a node's pods had, which the others have routes to, and delete its flannel's user.

    Its flanneld must run no more. `address` is the node's, empty where the inventory does not know it.
    """
    yield from _carried_out(
        etcd_access.without(node, address, see(host, AccessSeen), wanted), "etcd has nothing of its flannel"
    )


def _carried_out(plan: Plan, otherwise: str) -> Generator[StringCommand, None, None]:
    if not plan.steps and plan.record is None:
        host.noop(otherwise)
        return
    differs(host, [Difference("users, rights or flannel's keys in etcd differ")])
    lines = ["set -eu", *(f"{_PATIENT} {shlex.join(step)}" for step in plan.steps)]
    if plan.record is not None:
        lines += [
            f"revision=$({_PATIENT} auth status | sed -n 's/^AuthRevision: //p')",
            f'{_PATIENT} put {RECORD} "granted $revision {plan.record.digest}',
            *plan.record.lines,
            '"',
        ]
    yield StringCommand("\n".join(lines))
