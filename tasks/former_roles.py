"""Roles that hosts have lost: end them in an order that keeps the cluster serving, then remove their files."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.needs import registered
from kubekeel.parts import CONTROL_PLANE, KUBE_PROXY, NETWORK_POLICIES, PODS
from kubekeel.render import Target
from operations.converge import converge as _converge
from operations.etcd import delete_lease
from operations.former_roles import end, remove
from operations.removal import drain as _drain
from operations.target import etcd_answers_on, giving_up, serves_the_api
from tasks.kubelet import balancer


@deploy("former roles")
def drain(target: Target) -> None:
    """Drain the hosts that will no longer be Nodes, while everything still runs."""
    if serves_the_api(target.node):
        for node, parts in giving_up().items():
            if KUBE_PROXY in parts and not registered(node, target.cluster):
                _drain(name="drain the node", node=node.name)


@deploy("former roles")
def converge(target: Target) -> None:
    node, cluster, lost = target.node, target.cluster, giving_up()
    own = lost.get(node, ())
    # Before an API server ends, all balancers stop using it.
    if target.runs_pods and any(CONTROL_PLANE in parts for parts in lost.values()):
        _converge(name="remove former masters from balancers", services=[balancer(target)])
    if CONTROL_PLANE in own:
        end(name="end control plane", part=CONTROL_PLANE, node=node, cluster=cluster)
    if KUBE_PROXY in own:
        end(name="end kube-proxy", part=KUBE_PROXY, node=node, cluster=cluster)
    if NETWORK_POLICIES in own:
        end(name="end network policies", part=NETWORK_POLICIES, node=node, cluster=cluster)
    if PODS in own:
        end(name="end pods", part=PODS, node=node, cluster=cluster)
    # After flanneld has ended on that host: it would take another lease.
    if node == etcd_answers_on():
        for gone in [former for former, parts in lost.items() if PODS in parts]:
            delete_lease(
                name="delete flannel's lease",
                node=gone.name,
                address=gone.address,
                wanted=render.etcd_content(cluster),
            )
    # Last, since leftover files show the next run that there is more to do.
    if own:
        remove(name="remove files", parts=own, node=node, cluster=cluster)
