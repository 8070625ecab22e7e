"""Killed processes, machines that lose power, and members of etcd that are cut off."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from kubekeel.cluster import Node
from tests.chaos.machines import ready
from tests.lab_cluster import deployment, server
from tests.support import (
    CLUSTER,
    SLACK,
    containers,
    fetching,
    harm,
    host_of,
    kill_unnoticed_by_pods,
    lab,
    leader,
    restart,
    status,
    units_of,
    wait_healthy,
    wait_until,
    writing,
)

UNITS = [(unit, node) for node in CLUSTER.nodes for unit in units_of(node)]


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(("unit", "place"), UNITS, ids=[f"{unit}-{node.name}" for unit, node in UNITS])
def test_a_killed_unit_is_back_in_seconds_and_restarts_no_pod(namespace, unit: str, place: Node) -> None:
    kill_unnoticed_by_pods(place, unit, namespace)


@pytest.mark.usefixtures("servers")
def test_kubelets_and_containerds_killed_together_restart_no_pod(kubectl, namespace) -> None:
    port = json.loads(kubectl("-n", namespace, "get", "service", "web", "-o", "json"))["spec"]["ports"][0]["nodePort"]
    before = {node.name: containers(host_of(node), "kube-system", namespace) for node in CLUSTER.nodes}
    with (
        harm("SIGKILL of all kubelets and containerds", "no pod restarts, no request of users fails") as row,
        fetching(f"http://{CLUSTER.minions[0].address}:{port}") as traffic,
    ):
        for node in CLUSTER.nodes:
            host_of(node).check_output("systemctl kill --kill-whom=main --signal=KILL kubelet containerd")
        healthy = wait_healthy(90 * SLACK)
        row.seen = f"healthy in {healthy:.0f} s, {len(traffic.bad)} of {len(traffic.good)} requests failed"
        assert not traffic.bad
        for node in CLUSTER.nodes:
            assert containers(host_of(node), "kube-system", namespace).items() >= before[node.name].items()


@pytest.mark.timeout(1200)
def test_no_write_is_lost_when_a_node_restarts(node, namespace) -> None:
    with harm(f"power of {node.name} off and on", "Ready in 120 s, nobody's help, no write lost") as row:
        with writing(namespace) as writes:
            restart(node)
            begun = time.monotonic()
            wait_until(lambda: ready(node.name), 120 * SLACK, f"{node.name} is Ready")
            took = time.monotonic() - begun
        wait_healthy(120 * SLACK)
        row.seen = f"Ready in {took:.0f} s, 0 of {len(writes.good)} writes lost, the longest pause {writes.gap:.0f} s"
        assert writes.lost() == set()


@pytest.mark.timeout(1200)
def test_no_write_is_lost_when_all_nodes_restart_at_once(namespace) -> None:
    with writing(namespace) as writes:
        time.sleep(5)
    with harm("power of all nodes off and on", "healthy in 300 s, nobody's help, no write lost") as row:
        restart(*CLUSTER.nodes)
        healthy = wait_healthy(300 * SLACK)
        row.seen = f"healthy in {healthy:.0f} s, 0 of {len(writes.good)} writes lost"
        assert writes.lost() == set()


def cut_off(node: Node) -> Callable[[], None]:
    """Drop all packets between a node's etcd and the other members; return a function that undoes this."""
    others = ", ".join(other.address for other in CLUSTER.etcd if other != node)
    host_of(node).check_output(
        "nft 'add table inet harm; add chain inet harm in { type filter hook input priority 0; };"
        " add chain inet harm out { type filter hook output priority 0; };"
        f" add rule inet harm in ip saddr {{ {others} }} tcp dport {{ 2379, 2380 }} drop;"
        f" add rule inet harm in ip saddr {{ {others} }} tcp sport {{ 2379, 2380 }} drop;"
        f" add rule inet harm out ip daddr {{ {others} }} tcp dport {{ 2379, 2380 }} drop;"
        f" add rule inet harm out ip daddr {{ {others} }} tcp sport {{ 2379, 2380 }} drop'"
    )
    return lambda: host_of(node).check_output("nft delete table inet harm")


def stop(node: Node) -> Callable[[], None]:
    host_of(node).check_output("systemctl stop etcd")
    return lambda: host_of(node).check_output("systemctl start etcd")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", [stop, cut_off])
def test_writes_continue_without_one_member_of_etcd_and_none_is_lost(namespace, how) -> None:
    led = leader()
    # Not the member on the only master: the API server there would stop with it.
    node = led if led not in CLUSTER.masters else CLUSTER.minions[0]
    with harm(f"etcd of {node.name}: {how.__name__}", "writes go on within 10 s, none is lost") as row:
        with writing(namespace) as writes:
            undo = how(node)
            try:
                time.sleep(20)
                during = len(writes.good)
                time.sleep(10)
                assert len(writes.good) > during
            finally:
                undo()
        wait_healthy(60 * SLACK)
        row.seen = f"0 of {len(writes.good)} lost, the longest pause {writes.gap:.1f} s"
        assert writes.lost() == set()
        assert writes.gap <= 10 * SLACK


@pytest.mark.timeout(900)
def test_pods_of_a_dead_node_run_elsewhere_and_all_nodes_reach_new_ones_on_it_after_its_start(
    kubectl, namespace, image
) -> None:
    kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(deployment(image)))
    kubectl("-n", namespace, "rollout", "status", "deployment/sleeper", "--timeout=120s")

    def running() -> set[str]:
        pods = json.loads(kubectl("-n", namespace, "get", "pods", "-l", "app=sleeper", "-o", "json"))["items"]
        return {
            pod["spec"]["nodeName"]
            for pod in pods
            if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
        }

    (dead,) = running()
    with harm(f"power of {dead} off", "its pod runs elsewhere in 120 s; status names the node") as row:
        begun = time.monotonic()
        lab("stop", dead)
        try:
            wait_until(lambda: running() - {dead}, 120 * SLACK, f"the pod of {dead} runs elsewhere")
            took = time.monotonic() - begun
            problems = status()["problems"]
            assert any(problem.startswith(f"{dead}: is unreachable") for problem in problems), problems
        finally:
            restart(CLUSTER.node(dead))
        healthy = wait_healthy(120 * SLACK)
        row.seen = f"elsewhere in {took:.0f} s; healthy again {healthy:.0f} s after its start"

    # The pod network must also know the restarted node.
    kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(server("back", dead, image)))
    kubectl("-n", namespace, "wait", "pod/back", "--for=condition=Ready", "--timeout=120s")
    address = json.loads(kubectl("-n", namespace, "get", "pod", "back", "-o", "json"))["status"]["podIP"]
    ask = f"curl -s --max-time 2 http://{address}:8080"
    hosts = [host_of(node) for node in CLUSTER.nodes]
    wait_until(lambda: all(host.run(ask).stdout == dead for host in hosts), 120, f"all nodes reach the pod on {dead}")
