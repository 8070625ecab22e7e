"""The CIS Kubernetes Benchmark 1.12, judged by what an auditor sees on the hosts of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from kubekeel.cis.controls import CONTROLS, Control, Scope
from kubekeel.cis.evidence import COLLECT, Evidence
from kubekeel.cluster import Cluster, Node
from kubekeel.needs import registered

__all__ = ["COLLECT", "CONTROLS", "Control", "Evidence", "Result", "judge"]


@dataclass(frozen=True)
class Result:
    """What came of a control: the hosts that were looked at, and what is wrong, by host."""

    control: Control
    looked_at: tuple[str, ...]
    faults: Mapping[str, str]

    @property
    def state(self) -> Literal["passed", "failed", "by choice", "by hand", "not seen"]:
        if self.control.check is None:
            return "by hand"
        if not self.looked_at:
            return "not seen"
        if not self.faults:
            return "passed"
        return "by choice" if self.control.note else "failed"


def judge(cluster: Cluster, evidence: Mapping[str, Evidence]) -> tuple[Result, ...]:
    """Each control's result, by the evidence of those hosts of the cluster that were looked at."""
    return tuple(_result(control, _hosts(control.scope, cluster, evidence), evidence) for control in CONTROLS)


def _result(control: Control, hosts: Iterable[str], evidence: Mapping[str, Evidence]) -> Result:
    check = control.check
    if check is None:
        return Result(control, (), {})
    faults = {host: check(evidence[host]) for host in hosts}
    return Result(control, tuple(faults), {host: fault for host, fault in faults.items() if fault})


def _hosts(scope: Scope, cluster: Cluster, evidence: Mapping[str, Evidence]) -> Iterator[str]:
    hosts = [node.name for node in cluster.nodes if node.name in evidence and _within_scope(scope, node, cluster)]
    # One master tells about the cluster's objects.
    yield from hosts[:1] if scope == "cluster" else hosts


def _within_scope(scope: Scope, node: Node, cluster: Cluster) -> bool:
    match scope:
        case "etcd":
            return "etcd" in node.roles
        case "kubelets":
            return bool(node.roles & {"masters", "minions"})
        case "proxies":
            return registered(node, cluster)
        case _:
            return "masters" in node.roles
