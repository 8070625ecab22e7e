"""flannel: the network between the pods of all nodes; its configuration and leases are in etcd."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.needs import has_flannel
from kubekeel.render import Target
from kubekeel.service import Service
from operations.converge import converge as _converge
from operations.etcd import end_shared_access
from operations.target import first, present


def services(target: Target) -> list[Service]:
    """Return flanneld, and the service that repairs its and kube-proxy's work after another program has undone it."""
    check = f"{render.check_flannel(target)} {target.cluster.etcd_endpoints}"
    found = []
    if target.has_flannel:
        ready = f"test -s /etc/cni/net.d/10-flannel.conflist && {check}"
        found.append(Service(unit="flanneld", files=render.flannel(target), ready=ready))
    if target.has_flannel or target.has_kube_proxy:
        found.append(Service(unit="kubekeel-heal", files=render.heal(target), ready="true"))
    return found


@deploy("flannel")
def converge(target: Target) -> None:
    _converge(name="start flanneld", services=services(target), files=render.flannel_tools(target))


@deploy("flannel")
def finish(target: Target) -> None:
    """Remove the user that all nodes shared in earlier versions, once each node has a user of its own."""
    cluster = target.cluster
    if target.node == first("etcd") and present() >= {node for node in cluster.nodes if has_flannel(node, cluster)}:
        end_shared_access(name="remove the shared user", wanted=render.etcd_content(cluster))
