"""Taking a node out of a cluster, and a host back to what it was before it had one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from pyinfra import host, inventory, logger
from pyinfra.api import StringCommand, operation
from pyinfra.api.exceptions import DeployError

from kubekeel.etcd_access import NETWORK
from kubekeel.render import PROJECT
from operations.addons import KUBECTL
from operations.etcd import ETCDCTL
from operations.inventory import cluster_of, hosts_of, node_of
from operations.target import first
from operations.wait import until

_DRAIN_SECONDS = 300
_DELETE_SECONDS = 120
_RESET = PROJECT / "files/node/reset.sh"


def check(name: str) -> None:
    """End the run, before anything is done, unless it has who is needed to let a node go; raises DeployError."""
    own = [each for each in hosts_of(host.state) if node_of(each).name == name]
    faults = []
    if own and not own[0].connected:
        faults.append(
            f"{name}: cannot be reached; start it, or, if it is gone for good, leave it out: --exclude {name}"
        )
    faults += [
        f"{role}: no host but {name} can be reached; {name} may not be the last one, and the others must be up"
        for role in ("masters", "etcd")
        if first(role, without=name) is None
    ]
    for fault in faults:
        logger.error(fault)
    if faults:
        raise DeployError(f"nothing was changed; faults found: {len(faults)}")


@operation()
def drain(node: str) -> Iterator[StringCommand]:
    """Have a node's pods go elsewhere, as far as their disruption budgets let them within the time."""
    yield StringCommand(
        f"""
{KUBECTL} get node {shlex.quote(node)} >/dev/null 2>&1 || exit 0
{KUBECTL} drain {shlex.quote(node)} --ignore-daemonsets --delete-emptydir-data --force \
  --timeout={_DRAIN_SECONDS}s >&2 && exit 0
echo "{node}: was not drained in {_DRAIN_SECONDS} s, see above; make room on other nodes, or delete those pods" >&2
exit 1
"""
    )


@operation()
def forget(node: str) -> Iterator[StringCommand]:
    """Delete a node's object; the control plane deletes its pods after it."""
    delete = f"{KUBECTL} delete node {shlex.quote(node)} --ignore-not-found"
    # The API fails for a moment where the host that is gone was the member of etcd it spoke to.
    yield StringCommand(until(delete, _DELETE_SECONDS, f"{node}: could not be deleted", delete))


@operation()
def delete_lease(node: str) -> Iterator[StringCommand]:
    """Free the network that a node's pods had, which the others have routes to; its flanneld must run no more.

    Called on a member's host; without this flannel's lease, of a day, would run out by itself.
    """
    address = next((each.address for each in cluster_of(inventory).nodes if each.name == node), "")
    if not address:
        host.noop("is not in the inventory, which alone knows its address")
        return
    leases = f"{NETWORK}/subnets/"
    yield StringCommand(
        f"""{ETCDCTL} get --prefix {leases} | grep -B 1 -F '"PublicIP":"{address}"' | grep '^{leases}' |"""
        f" xargs -r -n 1 {ETCDCTL} del"
    )


@operation()
def reset() -> Iterator[StringCommand]:
    """Take everything off this host that a deploy and its cluster brought there."""
    network = cluster_of(inventory).pod_network
    yield StringCommand(f"sh -s {shlex.quote(host.name)} {network}", _stdin=_RESET.read_text().splitlines())
