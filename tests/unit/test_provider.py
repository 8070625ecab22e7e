"""Clusters whose users install the pod network, or the service proxy, themselves."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kubekeel import render
from kubekeel.cis import hosts
from kubekeel.cluster import Cluster, InventoryError, Node
from kubekeel.files import File
from kubekeel.needs import needs
from kubekeel.parts import KUBE_PROXY, described, former, placeholder, remains, written
from kubekeel.preflight import Brought, faults, packages, tried, warnings
from operations import addons
from tasks import flannel, kube_proxy, kubelet
from tests.hosts import brought, cluster, fit, looks, route

BARE = {"pod_network_provider": "none", "kube_proxy_mode": None}


def described_on(node: Node, made: Cluster) -> dict[str, str]:
    tree = described(placeholder(node, made))
    return {path: entry.content.decode() if isinstance(entry, File) else "" for path, entry in tree.items()}


def test_nodes_without_flannel_and_kube_proxy_have_none_of_their_files() -> None:
    made = cluster(**BARE)
    for node in made.nodes:
        assert [path for path in written(node, made) if "flannel" in path or "kube-proxy" in path] == []
        assert not {"flanneld", "kube-proxy"} & needs(node, made).binaries
        assert flannel.services(placeholder(node, made)) == []


def test_kube_proxy_runs_and_is_healed_with_another_network() -> None:
    made = cluster(pod_network_provider="none")
    files = described_on(made.minions[0], made)
    assert "/etc/systemd/system/kube-proxy.service" in files
    assert "/etc/systemd/system/flanneld.service" not in files
    healing = files["/etc/systemd/system/kubekeel-heal.service"]
    assert "check-kube-proxy" in healing
    assert "check-flannel" not in healing


@pytest.mark.parametrize("provider", ["none", "flannel"])
def test_the_controller_manager_allocates_networks_of_nodes_without_flannel(provider: str) -> None:
    made = cluster(pod_network_provider=provider)
    manifest = described_on(made.masters[0], made)["/etc/kubernetes/manifests/kube-controller-manager.yaml"]
    allocates = "--allocate-node-cidrs=true" in manifest and "--cluster-cidr=10.244.0.0/16" in manifest
    assert allocates is (provider == "none")
    assert ("--node-cidr-mask-size=24" in manifest) is (provider == "none")


def test_only_clusters_with_flannel_warn_about_policies() -> None:
    for provider in ("none", "flannel"):
        made = cluster(pod_network_provider=provider)
        manifests = render.addons(placeholder(made.masters[0], made))
        assert ("network-policies.yaml" in manifests) is (provider == "flannel")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"kube_proxy_mode": None}, "kube_proxy_mode: leaves flannel's pods without services (None); take"),
        (
            {**BARE, "pod_network": "10.0.0.0/9", "node_subnet_length": 26, "service_network": "172.30.0.0/16"},
            "node_subnet_length: makes too many subnets (26); take 25 at most",
        ),
    ],
)
def test_impossible_networks_are_refused(settings: dict[str, object], fault: str) -> None:
    with pytest.raises(InventoryError) as refused:
        cluster(**settings)
    assert [line for line in refused.value.faults if line.startswith(fault)]


def test_kube_proxy_is_removed_with_its_setting() -> None:
    made = cluster(**BARE)
    node = made.minions[0]
    assert "kube-proxy.service" in remains(KUBE_PROXY, node, made).units
    assert former(node, made, ["/etc/kubernetes/kube-proxy.conf"]) == [KUBE_PROXY]


# Requirements of hosts


def test_hosts_need_only_what_their_components_use() -> None:
    made = cluster(**BARE)
    assert packages(made.nodes[0], made) == {"modprobe": "kmod"}
    assert tried(made.minions[0], made) == [10250]
    old = replace(fit("a"), kernel="Linux 5.10.0", **brought(cni=frozenset({"05-cilium.conflist"})))  # type: ignore[arg-type]
    assert faults(made, looks(a=old)) == []


def test_routes_of_another_network_are_accepted() -> None:
    made = cluster(**BARE)
    routes = (route("10.244.7.0/26", "192.0.2.9"), route("10.244.1.7/32", device="cali1"))
    there = looks(
        a=replace(fit("a"), routes=routes, installed=True, brought=Brought(cni=frozenset({"05-cilium.conf"})))
    )
    assert faults(made, there) == []
    assert warnings(made, there) == []


# Waiting for a network

WAITING = (
    '"type":"Ready","status":"False","reason":"KubeletNotReady","message":"container runtime network not ready:'
    ' NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"'
)
READY = '"type":"Ready","status":"True","reason":"KubeletReady","message":"kubelet is posting ready status"'
DOWN = '"type":"Ready","status":"Unknown","reason":"NodeStatusUnknown","message":"Kubelet stopped posting node status."'


def holds(condition: str, folder: Path, printed: str, status: int = 0) -> bool:
    """Whether a condition holds if kubectl prints this."""
    kubectl = folder / "kubectl"
    kubectl.write_text(f"#!/bin/sh\ncat <<'END'\n{printed}\nEND\nexit {status}\n")
    kubectl.chmod(0o755)
    script = condition.replace("/opt/kubekeel/bin/kubectl", str(kubectl))
    return subprocess.run(["sh", "-c", script], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("provider", "enough"), [("flannel", {READY}), ("none", {READY, WAITING})])
def test_a_node_may_wait_for_a_network_that_users_install(tmp_path: Path, provider: str, enough: set[str]) -> None:
    made = cluster(pod_network_provider=provider)
    ready = kubelet.services(placeholder(made.minions[0], made))[1].ready
    seen = {
        reported for reported in (READY, WAITING, DOWN) if holds(ready, tmp_path, f'{{"conditions":[{{{reported}}}]}}')
    }
    assert seen == enough


def test_a_run_waits_for_add_ons_only_if_a_node_is_ready(tmp_path: Path) -> None:
    condition = addons._NO_NODE_IS_READY
    assert holds(condition, tmp_path, "False\nFalse")
    assert not holds(condition, tmp_path, "False\nTrue")
    assert not holds(condition, tmp_path, "The connection was refused", status=1)
    assert addons.available(cluster()) == addons.AVAILABLE
    assert condition in addons.available(cluster(**BARE))


def test_an_audit_skips_a_kube_proxy_that_is_not_installed() -> None:
    assert hosts("proxies", cluster(**BARE)) == ()
    assert hosts("proxies", cluster(pod_network_provider="none")) == ("m", "a", "b")


def test_flanneld_and_kube_proxy_serve_only_with_their_effect_in_the_kernel() -> None:
    target = placeholder(cluster().node("b"), cluster())
    (flanneld, *_) = flannel.services(target)
    assert render.check_flannel(target) in flanneld.ready
    assert render.check_kube_proxy(target) in kube_proxy.service(target).ready
