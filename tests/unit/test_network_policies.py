"""Enforced network policies: the files on each host, and their removal with the setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import yaml

from kubekeel import render
from kubekeel.cluster import Cluster, InventoryError, Node
from kubekeel.files import File
from kubekeel.needs import needs
from kubekeel.parts import NETWORK_POLICIES, described, former, placeholder, remains
from kubekeel.preflight import QUEUE_MODULES, Listener, faults, packages, warnings
from operations.former_roles import _ENDS
from tasks import flannel, health
from tests.hosts import cluster, fit, looks

ENGINE = "kube-network-policies"
MODULES = "/etc/modules-load.d/kubekeel.conf"
HEAL = "/etc/systemd/system/kubekeel-heal.service"
UNIT = f"/etc/systemd/system/{ENGINE}.service"


def enforced(**settings: object) -> Cluster:
    return cluster(network_policy=ENGINE, **settings)


def files(node: Node, of: Cluster) -> Mapping[str, str]:
    tree = described(placeholder(node, of))
    return {path: entry.content.decode() for path, entry in tree.items() if isinstance(entry, File)}


def test_every_node_enforces_policies_if_set() -> None:
    for node in enforced().nodes:
        assert ENGINE in needs(node, enforced()).binaries
        assert UNIT in files(node, enforced())
        assert ENGINE in [service.unit for service in health.services(placeholder(node, enforced()))]
        assert ENGINE not in needs(node, cluster()).binaries
        assert not [path for path in files(node, cluster()) if path.endswith((f"{ENGINE}.service", f"{ENGINE}.conf"))]
    alone = enforced(register_masters=False)
    assert ENGINE not in needs(alone.masters[0], alone).binaries
    assert UNIT not in files(alone.masters[0], alone)


def test_traffic_continues_while_the_engine_restarts() -> None:
    unit = files(enforced().minions[0], enforced())[UNIT]
    assert "--fail-open=true" in unit
    assert "KillSignal=SIGKILL" in unit
    assert "CapabilityBoundingSet=CAP_NET_ADMIN\n" in unit


def test_modules_of_the_queue_are_loaded_at_boot_if_needed() -> None:
    node = enforced().minions[0]
    assert set(QUEUE_MODULES) <= set(files(node, enforced())[MODULES].split())
    assert not set(QUEUE_MODULES) & set(files(node, cluster())[MODULES].split())


def test_missing_rules_are_restored() -> None:
    node = enforced().minions[0]
    assert f"{ENGINE}.service" in files(node, enforced())[HEAL]
    assert ENGINE not in files(node, cluster())[HEAL]
    assert [service.unit for service in flannel.services(placeholder(node, enforced()))] == [
        "flanneld",
        "kubekeel-heal",
    ]


def test_the_api_server_warns_only_of_policies_that_are_not_enforced() -> None:
    def manifests(of: Cluster) -> dict[str, bytes]:
        return render.addons(placeholder(of.masters[0], of))

    assert "network-policies.yaml" in manifests(cluster())
    assert f"{ENGINE}.yaml" not in manifests(cluster())
    assert "network-policies.yaml" not in manifests(enforced())
    role, binding = yaml.safe_load_all(manifests(enforced())[f"{ENGINE}.yaml"])
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list", "watch"}
    assert binding["subjects"][0]["name"] == f"system:{ENGINE}"


# Requirements of a host


def test_a_kernel_without_the_queue_is_refused_if_policies_are_enforced() -> None:
    there = looks(a=replace(fit("a"), modules_lacking=frozenset({"nft_queue"})))
    assert faults(cluster(), there) == []
    assert warnings(cluster(), there) == []
    assert faults(enforced(), there) == [
        "a: lacks kernel modules for network policies (nft_queue);"
        " boot a kernel that has them, or set network_policy = None"
    ]


def test_nft_is_installed_with_iptables_too() -> None:
    assert packages(enforced().nodes[0], enforced(kube_proxy_mode="iptables"))["nft"] == "nftables"
    assert "nft" not in packages(cluster().nodes[0], cluster(kube_proxy_mode="iptables"))


def test_the_port_of_the_engine_in_use_is_refused() -> None:
    taken = looks(a=replace(fit("a"), listeners=(Listener("127.0.0.1", 9080, "nginx, process 7"),)))
    assert faults(cluster(), taken) == []
    [fault] = faults(enforced(), taken)
    assert fault.startswith("a: has port 9080 in use, which kube-network-policies needs")


# Removal


def test_the_engine_and_its_rules_are_removed_with_the_setting() -> None:
    node = cluster().minions[0]
    left = remains(NETWORK_POLICIES, node, cluster())
    assert left.units == (f"{ENGINE}.service",)
    assert f"/opt/kubekeel/bin/{ENGINE}" in left.marks
    assert former(node, cluster(), [f"/etc/kubernetes/{ENGINE}.conf"]) == [NETWORK_POLICIES]
    assert former(node, enforced(), [f"/etc/kubernetes/{ENGINE}.conf"]) == []
    ended = "".join((render.PROJECT / "files" / script).read_text() for script in _ENDS[NETWORK_POLICIES])
    assert f"systemctl stop {ENGINE}" in ended
    assert f"remove_rules '{ENGINE}'" in ended


def test_policies_are_enforced_with_flannel_only() -> None:
    with pytest.raises(InventoryError) as refused:
        enforced(pod_network_provider="none")
    assert refused.value.faults == (
        f"network_policy: works with flannel only ({ENGINE});"
        " remove it: the network that you install has to enforce policies",
    )
    with pytest.raises(InventoryError) as refused:
        cluster(network_policy="calico")
    [fault] = refused.value.faults
    assert fault.startswith("network_policy: is unknown (calico); take one of 'kube-network-policies', None")
