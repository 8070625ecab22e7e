"""Settings of components reach a cluster that runs, node by node, and what programs refuse reaches none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import (
    CLUSTER,
    containers,
    deploy,
    deployed,
    fetching,
    host_of,
    run_kubectl,
    settled,
    with_changes,
)

MASTER, MINION = CLUSTER.masters[0], CLUSTER.minions[0]
SECOND = "192.168.1.210"
HANDLER = '[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.other]\nruntime_type = "io.containerd.runc.v2"\n'
GIVEN = {
    "kube_apiserver": {"event-ttl": "2h"},
    "kube_controller_manager": {"terminated-pod-gc-threshold": 2000},
    "kube_scheduler": {"v": 1},
    "etcd": {"log-level": "warn"},
    "kubelet": {"maxPods": 60, "evictionHard": {"memory.available": "50Mi"}},
    "kube_proxy": {"logging": {"verbosity": 1}},
    "feature_gates": {"AllAlpha": False},
    "node_port_addresses": ["0.0.0.0/0"],
}


def arguments(given: dict[str, Any]) -> list[str]:
    """Settings in the form of pyinfra's command line."""
    return [word for name, value in given.items() for word in ("--data", f"{name}={json.dumps(value)}")]


def configuration(node: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/configz"))
    return found["kubeletconfig"]


def started_with(program: str) -> list[str]:
    # The balancer is a program of etcd's, too.
    find = "systemctl show -p MainPID --value etcd" if program == "etcd" else f"pgrep -xo {program}"
    return host_of(MASTER).check_output(f"tr '\\0' '\\n' </proc/$({find})/cmdline").splitlines()


def mains() -> dict[str, str]:
    """The main processes of a minion's units."""
    units = ("containerd", "etcd", "kubelet", "kube-proxy")
    return {unit: host_of(MINION).check_output(f"systemctl show -p MainPID --value {unit}") for unit in units}


@pytest.fixture
def _second_address() -> Iterator[None]:
    device = host_of(MINION).check_output(f"ip -o -4 address show to {MINION.address}").split()[1]
    host_of(MINION).check_output(f"ip address add {SECOND}/32 dev {device}")
    yield
    host_of(MINION).check_output(f"ip address del {SECOND}/32 dev {device}")


@pytest.fixture
def _set_back() -> Iterator[None]:
    yield
    settled()


@pytest.mark.usefixtures("servers", "_second_address", "_set_back")
def test_settings_of_components_arrive_without_an_outage(namespace: str, tmp_path: Path) -> None:
    port = int(run_kubectl("-n", namespace, "get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}"))
    pods = containers(host_of(MINION), namespace)
    inventory = with_changes(
        tmp_path, f"_hosts[{MINION.name!r}][1].update(kubelet={{'maxPods': 50}}, containerd={HANDLER!r})"
    )
    with fetching(f"http://{MINION.address}:{port}") as user:
        deployed(*arguments(GIVEN), inventory=inventory)
    assert not user.bad
    assert containers(host_of(MINION), namespace) == pods
    assert deployed(*arguments(GIVEN), inventory=inventory).changes == []

    assert "--event-ttl=2h" in started_with("kube-apiserver")
    assert "--terminated-pod-gc-threshold=2000" in started_with("kube-controller-manager")
    assert "--v=1" in started_with("kube-scheduler")
    for program in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        assert "--feature-gates=AllAlpha=false" in started_with(program)
    assert "--log-level=warn" in started_with("etcd")
    assert {node.name: configuration(node.name)["maxPods"] for node in CLUSTER.nodes} == {
        node.name: 50 if node == MINION else 60 for node in CLUSTER.nodes
    }
    assert configuration(MINION.name)["featureGates"]["AllAlpha"] is False
    assert configuration(MINION.name)["evictionHard"]["memory.available"] == "50Mi"
    assert httpx.get(f"http://{SECOND}:{port}", timeout=10, trust_env=False).status_code == 200
    handlers = json.loads(host_of(MINION).check_output("crictl info"))["config"]["containerd"]["runtimes"]
    assert {"runc", "other"} <= handlers.keys()


def test_a_node_keeps_memory_for_what_runs_beside_pods() -> None:
    for node in CLUSTER.nodes:
        status = json.loads(run_kubectl("get", "node", node.name, "-o", "json"))["status"]
        kept = [int(status[what]["memory"].removesuffix("Ki")) for what in ("capacity", "allocatable")]
        reserved = configuration(node.name)
        held = [reserved[of]["memory"].removesuffix("Mi") for of in ("kubeReserved", "systemReserved")]
        assert kept[0] - kept[1] == (sum(map(int, held)) + 100) * 1024


@pytest.mark.parametrize(
    ("setting", "value", "program", "why"),
    [
        ("kubelet", {"maxPodz": 5}, "kubelet", "unknown field"),
        ("etcd", {"nosuch": 1}, "etcd", "flag provided but not defined: -nosuch"),
        ("kube_apiserver", {"event-ttl": "x"}, "kube-apiserver", "invalid duration"),
    ],
)
def test_settings_that_a_program_refuses_stop_the_run_before_anything_restarts(
    setting: str, value: dict[str, Any], program: str, why: str
) -> None:
    before, serving = mains(), started_with("kube-apiserver")
    run = deploy(*arguments({setting: value}))
    assert run.status == 1
    assert f"{program} refuses its settings" in run.output
    assert why in run.output
    assert (mains(), started_with("kube-apiserver")) == (before, serving)


def test_a_setting_that_opens_what_is_closed_is_named_before_it_is_done() -> None:
    run = deploy("--dry", *arguments({"kubelet": {"readOnlyPort": 10255}}))
    assert run.status == 0
    assert "kubelet readOnlyPort must be 0 or unset (10255); your settings do this, against control" in run.output
