"""Settings of components reach a running cluster node by node, and refused settings reach no node."""

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
    main_pids,
    run_kubectl,
    settled,
    with_changes,
)

MASTER, MINION = CLUSTER.masters[0], CLUSTER.minions[0]
SECOND = "192.168.1.210"
HANDLER = '[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.other]\nruntime_type = "io.containerd.runc.v2"\n'
SETTINGS = {
    "kube_apiserver": {"event-ttl": "2h"},
    "kube_controller_manager": {"terminated-pod-gc-threshold": 2000},
    "kube_scheduler": {"v": 1},
    "etcd": {"log-level": "warn"},
    "kubelet": {"maxPods": 60, "evictionHard": {"memory.available": "50Mi"}},
    "kube_proxy": {"logging": {"verbosity": 1}},
    "feature_gates": {"AllAlpha": False},
    "node_port_addresses": ["0.0.0.0/0"],
}


def arguments(settings: dict[str, Any]) -> list[str]:
    """Return settings as arguments of pyinfra."""
    return [word for name, value in settings.items() for word in ("--data", f"{name}={json.dumps(value)}")]


def configuration(node: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/configz"))
    return found["kubeletconfig"]


def command_line(program: str) -> list[str]:
    # The balancer also runs etcd's program.
    # The kernel keeps the first 15 characters of a program's name.
    find = "systemctl show -p MainPID --value etcd" if program == "etcd" else f"pgrep -xo {program[:15]}"
    return host_of(MASTER).check_output(f"tr '\\0' '\\n' </proc/$({find})/cmdline").splitlines()


@pytest.fixture
def _second_address() -> Iterator[None]:
    device = host_of(MINION).check_output(f"ip -o -4 address show to {MINION.address}").split()[1]
    host_of(MINION).check_output(f"ip address add {SECOND}/32 dev {device}")
    yield
    host_of(MINION).check_output(f"ip address del {SECOND}/32 dev {device}")


@pytest.fixture
def _defaults_restored() -> Iterator[None]:
    yield
    settled()


@pytest.mark.usefixtures("servers", "_second_address", "_defaults_restored")
def test_settings_of_components_take_effect_without_an_outage(namespace: str, tmp_path: Path) -> None:
    port = int(run_kubectl("-n", namespace, "get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}"))
    pods = containers(host_of(MINION), namespace)
    inventory = with_changes(
        tmp_path, f"_hosts[{MINION.name!r}][1].update(kubelet={{'maxPods': 50}}, containerd={HANDLER!r})"
    )
    with fetching(f"http://{MINION.address}:{port}") as user:
        deployed(*arguments(SETTINGS), inventory=inventory)
    assert not user.bad
    assert containers(host_of(MINION), namespace) == pods
    assert deployed(*arguments(SETTINGS), inventory=inventory).changes == []

    assert "--event-ttl=2h" in command_line("kube-apiserver")
    assert "--terminated-pod-gc-threshold=2000" in command_line("kube-controller-manager")
    assert "--v=1" in command_line("kube-scheduler")
    for program in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        assert "--feature-gates=AllAlpha=false" in command_line(program)
    assert "--log-level=warn" in command_line("etcd")
    assert {node.name: configuration(node.name)["maxPods"] for node in CLUSTER.nodes} == {
        node.name: 50 if node == MINION else 60 for node in CLUSTER.nodes
    }
    assert configuration(MINION.name)["featureGates"]["AllAlpha"] is False
    assert configuration(MINION.name)["evictionHard"]["memory.available"] == "50Mi"
    assert httpx.get(f"http://{SECOND}:{port}", timeout=10, trust_env=False).status_code == 200
    handlers = json.loads(host_of(MINION).check_output("crictl info"))["config"]["containerd"]["runtimes"]
    assert {"runc", "other"} <= handlers.keys()


def test_a_node_reserves_memory_for_kubernetes_and_the_system() -> None:
    for node in CLUSTER.nodes:
        status = json.loads(run_kubectl("get", "node", node.name, "-o", "json"))["status"]
        capacity, allocatable = (int(status[key]["memory"].removesuffix("Ki")) for key in ("capacity", "allocatable"))
        kubelet = configuration(node.name)
        reserved = [kubelet[key]["memory"].removesuffix("Mi") for key in ("kubeReserved", "systemReserved")]
        assert capacity - allocatable == (sum(map(int, reserved)) + 100) * 1024


@pytest.mark.parametrize(
    ("setting", "value", "program", "reason"),
    [
        ("kubelet", {"maxPodz": 5}, "kubelet", "unknown field"),
        ("etcd", {"nosuch": 1}, "etcd", "flag provided but not defined: -nosuch"),
        ("kube_apiserver", {"event-ttl": "x"}, "kube-apiserver", "invalid duration"),
    ],
)
def test_settings_that_a_program_refuses_stop_the_run_before_any_restart(
    setting: str, value: dict[str, Any], program: str, reason: str
) -> None:
    before, serving = main_pids(MINION), command_line("kube-apiserver")
    run = deploy(*arguments({setting: value}))
    assert run.status == 1
    assert f"{program} refuses its settings" in run.output
    assert reason in run.output
    assert (main_pids(MINION), command_line("kube-apiserver")) == (before, serving)


def test_a_setting_that_violates_a_control_is_named_before_any_change() -> None:
    run = deploy("--dry", *arguments({"kubelet": {"readOnlyPort": 10255}}))
    assert run.status == 0
    assert "kubelet readOnlyPort must be 0 or unset (10255); your settings do this, against control" in run.output
