"""The check of hosts without a deploy, with measurements between them."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from gevent.pool import Group
from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel import shell
from kubekeel.cluster import Cluster, Node
from kubekeel.preflight import Measured, line, measure_faults, measure_warnings, table, tried, ways
from operations.preflight import examined
from run.ask import ask
from run.inventory import cluster_of, hosts_of, node_of


@operation()
def check() -> Generator[FunctionCommand, None, None]:
    """Print all faults of the run's hosts, and how they reach each other; fails if there are faults."""
    yield FunctionCommand(_check, (), {})


def _check(state: State, host: Host) -> bool:  # noqa: ARG001 - pyinfra's signature
    cluster, hosts = cluster_of(state.inventory), [each for each in hosts_of(state) if each.connected]
    nodes = [node_of(each) for each in hosts]
    found = Group().map(lambda each: _measured(each, nodes, cluster), hosts)
    measures = {node.name: each for node, each in zip(nodes, found, strict=True)}
    print("\n".join(table(measures)))
    warnings, faults = examined(state)
    for warning in [*warnings, *(line(*each) for each in measure_warnings(cluster, measures))]:
        logger.warning(warning)
    faults += [line(*each) for each in measure_faults(measures)]
    for fault in faults:
        logger.error(fault)
    return not faults


def _measured(host: Host, nodes: Sequence[Node], cluster: Cluster) -> Measured:
    """Return a host's measurements; empty if it does not answer, which the check reports."""
    own = node_of(host)
    others = [node for node in nodes if node != own]
    try:
        _, output = ask(host, script(own, others, cluster))
    except (OSError, SSHException, EOFError):
        return Measured()
    return ways(output.stdout_lines, {node.address: node.name for node in others})


def script(own: Node, others: Sequence[Node], cluster: Cluster) -> str:
    """Return shell lines by which a host measures how it reaches others."""
    peers = [f"{node.address}:{','.join(map(str, tried(node, cluster)))}" for node in others]
    disk = "/var/lib/etcd" if "etcd" in own.roles else ""
    return f"(\n{shell.script('node/measure.sh', peers=peers, disk=[disk])}) 2>/dev/null\ntrue"
