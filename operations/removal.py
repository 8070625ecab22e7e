"""Removes a node from a cluster, and resets a host to its state before the first deploy."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator
from functools import cache
from threading import Lock

from paramiko import SSHException
from pyinfra import host, inventory, logger
from pyinfra.api import StringCommand, operation
from pyinfra.api.state import State
from pyinfra.connectors.util import CommandOutput, OutputLine

from operations.drain import drain_script
from operations.etcd import ETCDCTL
from operations.kubectl import KUBECTL
from operations.shell import run
from operations.target import etcd_answers_on, first
from operations.wait import reported, until
from run.ask import ask
from run.closing import refusal
from run.inventory import cluster_of, hosts_of, node_of, nodes_with_keys

_DRAIN_SECONDS = 300
_DELETE_SECONDS = 120
_NODES = f"{KUBECTL} get nodes --no-headers -o custom-columns=:.metadata.name"
_MEMBERS = f"members=$({ETCDCTL} member list) && echo \"$members\" | awk -F ', ' '$3 {{print $3}}'"
# pyinfra prepares hosts side by side: the first one looks, while the others wait.
_lock = Lock()


def check(name: str) -> None:
    """Raise DeployError, before any change, if the run cannot remove a node of this name."""
    with _lock:
        faults = _faults(host.state, name)
    if faults:
        raise refusal(len(faults), "operations/nodes.md")


@cache
def _faults(state: State, name: str) -> list[str]:
    """Return why a node of this name cannot leave; logs each fault once."""
    found = list(_absences(state, name))
    if not found and name not in {node.name for node in cluster_of(state.inventory).nodes}:
        found = list(_unknown(state, name))
    for fault in found:
        logger.error(fault)
    return found


def _absences(state: State, name: str) -> Iterator[str]:
    """Yield the faults of unreachable hosts that the removal needs."""
    if any(node_of(each).name == name and not each.connected for each in hosts_of(state)):
        yield f"{name}: is unreachable; start it, or, if it is gone for good, leave it out: --exclude {name}"
    if first("masters", without=name) is None:
        yield f"masters: no master other than {name} is reachable; start another one, then run again"
    if etcd_answers_on(without=name) is None:
        yield f"etcd: no member other than {name} answers with a quorum; start the others, then run again"


def _unknown(state: State, name: str) -> Iterator[str]:
    """Yield a fault if neither the cluster nor the keys have this name, which is not in the inventory."""
    # Keys go last: an interrupted removal may have left only them.
    if name in nodes_with_keys():
        return
    known = set[str]()
    for role, listing in (("masters", _NODES), ("etcd", _MEMBERS)):
        source = next(each for each in hosts_of(state) if node_of(each) == first(role))
        try:
            succeeded, output = ask(source, listing)
        except (OSError, SSHException, EOFError) as error:
            succeeded, output = False, CommandOutput([OutputLine("stderr", f"{type(error).__name__} {error}")])
        if not succeeded:
            yield f"{source.name}: does not answer whether there is a node {name} ({output.output}); repair that first"
            return
        known |= set(output.stdout_lines)
    if name not in known:
        names = ", ".join(sorted(known | {node.name for node in cluster_of(state.inventory).nodes}))
        yield f"--data node: is in neither the inventory nor the cluster ({name}); the nodes are {names}"


@operation()
def drain(node: str) -> Generator[StringCommand, None, None]:
    """Drain a node; if its pods do not leave in time, it takes pods as before."""
    yield from reported(f"the pods of {node} to leave", StringCommand(drain_script(node, _DRAIN_SECONDS)))


@operation()
def forget(node: str) -> Generator[StringCommand, None, None]:
    """Delete a node's object; the control plane deletes its pods after it."""
    delete = f"{KUBECTL} delete node {shlex.quote(node)} --ignore-not-found"
    # The API fails for a moment if the removed host was the member of etcd that it used.
    wait = until(delete, _DELETE_SECONDS, f"{node}: could not be deleted", delete)
    yield from reported(f"the Node {node} to be deleted", StringCommand(wait))


@operation()
def reset() -> Generator[StringCommand, None, None]:
    """Remove everything from this host that a deploy and its cluster brought there."""
    yield run(("node/undo.sh", "node/reset.sh"), host.name, str(cluster_of(inventory).pod_network))
