"""Changes flannel, containerd, kubelet and kube-proxy on running nodes, node by node."""

from __future__ import annotations

from collections.abc import Callable

from pyinfra import host
from pyinfra.api import deploy

from kubekeel import render
from kubekeel.files import Tree
from kubekeel.render import Target
from kubekeel.service import Service
from kubekeel.upgrade import at_once, drains, is_drained
from operations.follow import change, count, follow, forget
from operations.preflight import running
from operations.target import first_serving_master
from operations.turns import hold, take_turn
from operations.turns import restore as _restore
from tasks import containerd, control_plane, flannel, kube_proxy, kubelet


def services(target: Target, pods_serve: Callable[[Target], str] = control_plane.serves) -> list[Service]:
    """Return all of a node's units but etcd, in the order of their restarts.

    A master's kubelet is ready only if the shell condition `pods_serve` holds.
    """
    found = [*flannel.services(target), containerd.service(target)]
    if "masters" in target.node.roles:
        found += kubelet.services(target, also=pods_serve(target), explain=control_plane.EXPLAIN)
    else:
        found += kubelet.services(target)
    return [*found, kube_proxy.service(target)] if target.has_kube_proxy else found


def tools(target: Target) -> Tree:
    """Return the other files of a node, for its units and for people."""
    return {**render.flannel_tools(target), **render.containerd_tools(target), **render.kubectl(target)}


@deploy("nodes")
def restore(target: Target) -> None:
    """Write missing files, before any restart or health check."""
    _restore(name="restore missing files", services=services(target), files=tools(target))


@deploy("nodes")
def converge(target: Target) -> None:
    if drains(target.cluster, running(host.state)):
        follow_endpoints(target)
    found, files = services(target), tools(target)
    drained = is_drained(target.node, target.cluster, running(host.state))
    seconds = target.cluster.drain_timeout if drained else None
    # A balancer only forwards connections, and restarts at once.
    held = hold(name="update files", services=found, files=files, at_once=["api-balancer", "kubekeel-heal"])
    if "masters" not in target.node.roles:
        take_turn(
            name="restart minions in batches",
            services=found,
            files=files,
            drain_seconds=seconds,
            _if=held.did_change,
            _parallel=at_once(target.cluster),
        )
    else:
        take_turn(
            name="restart masters one by one",
            services=found,
            files=files,
            drain_seconds=seconds,
            _if=held.did_change,
            _serial=True,
        )


def follow_endpoints(target: Target) -> None:
    """Wait until controllers and kube-proxies work again after masters of this run restarted."""
    master = first_serving_master()
    if not master:
        return
    if target.registered:
        count(name="count changes of endpoints")
    if target.node == master:
        change(name="change endpoints")
    if target.registered:
        follow(name="wait until kube-proxy follows the change")
    if target.node == master:
        forget(name="remove the change of endpoints")
