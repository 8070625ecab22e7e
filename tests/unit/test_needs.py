"""The order in which files come to a new host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

from kubekeel import render
from kubekeel.files import Link
from kubekeel.needs import ETCD, STATIC_PODS, in_order_of_need, needs
from kubekeel.parts import placeholder
from kubekeel.render import Target
from tests.clusters import cluster
from tests.hosts import machine


def linked(*trees: Mapping[str, object]) -> set[str]:
    paths = [PurePosixPath(path) for tree in trees for path, entry in tree.items() if isinstance(entry, Link)]
    return {path.name for path in paths if str(path.parent) == render.BIN}


def test_binaries_come_in_the_order_in_which_a_deploy_links_them() -> None:
    artifact = SimpleNamespace(sha256="1", reference="image", digest="digest")
    supply: Any = SimpleNamespace(binary=lambda *_: artifact, image=lambda *_: artifact)
    desired = cluster(network_policy="kube-network-policies")
    node = desired.node("a")
    target = Target(node, machine("a"), desired, placeholder(node, desired).pki, supply)
    # Each line of deploy.py, and what it links.
    roles = [
        linked(render.etcd(target), render.etcd_tools(target)),
        linked(render.flannel(target), render.flannel_tools(target)),
        linked(render.containerd(target), render.containerd_tools(target)),
        linked(render.api_balancer(target), render.kubelet(target), render.kubectl(target)),
        linked(render.kube_proxy(target)),
        linked(render.network_policies(target)),
    ]
    assert roles[0] == ETCD
    order, come = in_order_of_need(needs(node, desired).binaries), set[str]()
    for role in roles:
        come |= role
        assert set(order[: len(come)]) == come
    assert come == set(order)


def test_images_come_in_the_order_in_which_pods_start() -> None:
    addons = ["headlamp", "metrics-server"]
    order = ["pause", *STATIC_PODS, "coredns", *addons]
    assert in_order_of_need(sorted(order)) == order
