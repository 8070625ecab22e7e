"""The CIS Kubernetes Benchmark 1.12, judged by the evidence on the hosts of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kubekeel.cis.controls import CONTROLS, Control, Scope
from kubekeel.cis.evidence import COLLECT, Evidence
from kubekeel.cluster import Cluster, Node
from kubekeel.needs import has_kube_proxy

__all__ = ["COLLECT", "CONTROLS", "Control", "Evidence", "Result", "hosts", "judge"]


@dataclass(frozen=True)
class Result:
    """The result of a control: the checked hosts, and the faults by host."""

    control: Control
    checked: tuple[str, ...]
    faults: Mapping[str, str]

    @property
    def state(self) -> Literal["passed", "failed", "by choice", "by hand", "not seen"]:
        if self.control.check is None:
            return "by hand"
        if not self.checked:
            return "not seen"
        if not self.faults:
            return "passed"
        return "by choice" if self.control.note else "failed"


def hosts(scope: Scope, cluster: Cluster) -> tuple[str, ...]:
    """Return the hosts that controls of a scope apply to; for "cluster", the hosts that can answer."""
    return tuple(node.name for node in cluster.nodes if _concerns(scope, node, cluster))


def _concerns(scope: Scope, node: Node, cluster: Cluster) -> bool:
    match scope:
        case "etcd":
            return "etcd" in node.roles
        case "kubelets":
            return bool(node.roles & {"masters", "minions"})
        case "proxies":
            return has_kube_proxy(node, cluster)
        case "masters" | "cluster":
            return "masters" in node.roles


def judge(cluster: Cluster, evidence: Mapping[str, Evidence]) -> tuple[Result, ...]:
    """Return each control's result, from the evidence of the hosts that were checked."""
    return tuple(_result(control, cluster, evidence) for control in CONTROLS)


def _result(control: Control, cluster: Cluster, evidence: Mapping[str, Evidence]) -> Result:
    if control.check is None:
        return Result(control, (), {})
    seen = [host for host in hosts(control.scope, cluster) if host in evidence]
    if control.scope == "cluster":
        seen = seen[:1]
    faults = {host: control.check(evidence[host]) for host in seen}
    return Result(control, tuple(seen), {host: fault for host, fault in faults.items() if fault})
