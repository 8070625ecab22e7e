"""Relays of the metrics of etcd and kube-proxy, if a setting turns them on; other components serve their own."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.files import Tree
from kubekeel.needs import relays_etcd_metrics, relays_kube_proxy_metrics
from kubekeel.render import ETCD_METRICS_PORT, KUBE_PROXY_METRICS_PORT, Target
from kubekeel.service import Service
from operations.converge import converge as _converge


def services(target: Target) -> list[Service]:
    found = []
    if relays_etcd_metrics(target.node, target.cluster):
        found.append(_service(target, "kubekeel-etcd-metrics", render.etcd_metrics(target), ETCD_METRICS_PORT))
    if relays_kube_proxy_metrics(target.node, target.cluster):
        files, port = render.kube_proxy_metrics(target), KUBE_PROXY_METRICS_PORT
        found.append(_service(target, "kubekeel-kube-proxy-metrics", files, port))
    return found


def _service(target: Target, unit: str, files: Tree, port: int) -> Service:
    return Service(unit=unit, files=files, ready=f"ss -Hltn src {target.node.address}:{port} | grep -q .")


@deploy("metrics")
def converge(target: Target) -> None:
    _converge(name="start metrics relays", services=services(target))
