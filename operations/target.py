"""The host that the run works on, with all inputs for its roles' files, and the hosts that do work once per run."""

from __future__ import annotations

from functools import cache

from pyinfra import host, inventory
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel.cluster import Node
from kubekeel.needs import runs_pods
from kubekeel.parts import Part, former
from kubekeel.pki import Step
from kubekeel.preflight import members_seen
from kubekeel.render import Target
from kubekeel.upgrade import API_SERVER
from operations.preflight import looks, seen
from run.inventory import cluster_of, hosts_of, node_of, pki_of_run, supply_of


def here() -> Target:
    """Return the `Target` of the host that deploy.py runs for."""
    cluster = cluster_of(inventory)
    # A deploy that is a step of a rotation uses the keys after that step.
    step = host.data.get("rotation")
    return Target(
        node=node_of(host),
        machine=seen(host).machine,
        cluster=cluster,
        pki=pki_of_run(host.state, Step(step) if step else None),
        supply=supply_of(inventory),
    )


def present() -> set[Node]:
    """Return the reachable hosts of this run."""
    return {node_of(each) for each in hosts_of(host.state) if each.connected}


def first(role: str, without: str = "") -> Node | None:
    """Return this run's first reachable host of a role, for work that is done once; skips the host `without`."""
    there = present()
    able = (node for node in cluster_of(inventory).nodes if role in node.roles and node.name != without)
    return next((node for node in able if node in there), None)


def leads(node: Node) -> bool:
    """Whether work that is done once, on this computer, is done in this host's turn."""
    return node.name == min(each.name for each in present())


def etcd_answers_on(without: str = "") -> Node | None:
    """Return the first host on which a quorum of etcd answered this run; skips the host `without`."""
    there = members_seen(cluster_of(inventory), looks(host.state))
    return next((node for node in there if node.name != without), None)


def giving_up() -> dict[Node, list[Part]]:
    """Return the hosts of this run with leftovers of former parts, and those parts."""
    return _giving_up(host.state)


@cache
def _giving_up(state: State) -> dict[Node, list[Part]]:
    cluster = cluster_of(state.inventory)
    nodes = {node_of(each): each for each in hosts_of(state) if each.connected}
    found = {node: former(node, cluster, seen(each).leftovers) for node, each in nodes.items()}
    return {node: parts for node, parts in found.items() if parts}


def serves_the_api(node: Node) -> bool:
    """Whether this is the first host of the run on which an API server listens, whatever its present groups."""
    serving = (node_of(each) for each in hosts_of(host.state) if each.connected and seen(each).serves_api)
    return node == next(serving, None)


_PODS_NEED = {"containerd", "kubelet"}


def serves(node: Node) -> bool:
    """Whether this host ran pods before the run, and so must change in its turn."""
    return _serves(node, host)


def first_serving_master() -> Node | None:
    """Return this run's first master that ran pods before the run; None if --limit leaves all of them out."""
    masters = ((node_of(each), each) for each in hosts_of(host.state) if each.connected)
    return next((node for node, each in masters if "masters" in node.roles and _serves(node, each)), None)


def _serves(node: Node, each: Host) -> bool:
    return runs_pods(node) and seen(each).runs.keys() >= _PODS_NEED


def joins(node: Node) -> bool:
    """Whether this host will run pods, and did not before the run, so that no other host waits for it."""
    return runs_pods(node) and not serves(node)


def serves_as_master(node: Node) -> bool:
    """Whether this host ran pods and was a master before the run."""
    return serves(node) and API_SERVER in seen(host).runs
