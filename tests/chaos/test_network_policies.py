"""Network policies on a kernel with nft_queue: the packets that they allow and block. All pods are on one node."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.chaos import policy_probes
from tests.chaos.policies import CASES, Case
from tests.chaos.policy_probes import ProbePods
from tests.chaos.policy_results import RESULTS, Results
from tests.lab_cluster import wait_until
from tests.virtual import PATIENCE, Machine, machine_of

pytestmark = pytest.mark.timeout(2 * PATIENCE)

ENGINE = "kube-network-policies"
DENIED = next(case for case in CASES if case.name == "default deny of ingress, of a namespace")
FRIENDS = next(case for case in CASES if case.name == "ingress by labels of pods")
TO_A_PORT = next(case for case in CASES if case.name == "ingress from some pods to one port")


@pytest.fixture(scope="module")
def enforced() -> Iterator[Machine]:
    """Yield a machine with a cluster and the engine that enforces policies."""
    with machine_of(network_policy=ENGINE) as machine:
        machine.run("deploy.py")
        yield machine


@pytest.fixture(scope="module")
def pods(enforced: Machine) -> ProbePods:
    Results(kernel=enforced.on("uname -r")).write(RESULTS)
    return policy_probes.build(enforced, enforced.image())


def test_the_engine_serves_and_a_second_run_changes_nothing(enforced: Machine) -> None:
    assert ENGINE in enforced.run("actions/status.py")
    assert enforced.changes() == []
    modules = enforced.on("lsmod | awk '{print $1}'").split()
    assert {"nft_queue", "nfnetlink_queue"} <= set(modules)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_policies_let_only_allowed_packets_pass(case: Case, pods: ProbePods) -> None:
    pods.enforce(case)


def test_an_allowed_connection_continues_when_policies_change(pods: ProbePods) -> None:
    pods.enforce(FRIENDS)
    assert pods.passes("friend keep web 8080") == [True]
    pods.enforce(TO_A_PORT)
    assert pods.passes("friend again") == [True]


def test_a_connection_ends_when_a_policy_forbids_it(pods: ProbePods) -> None:
    pods.enforce(FRIENDS)
    assert pods.passes("friend keep web 8080") == [True]
    pods.enforce(DENIED)
    # The engine checks existing connections every half minute.
    wait_until(lambda: pods.passes("friend again") == [False], 300, "the connection ends")


def test_other_policies_apply_after_a_pod_s_labels_change(pods: ProbePods) -> None:
    pods.enforce(FRIENDS)
    of_other = {packet: packet.source == "other" for packet in FRIENDS.expected if packet.source == "other"}
    pods.machine.kubectl("-n", "shop", "label", "pod", "other", "role=friend", "--overwrite")
    try:
        pods.settle(of_other)
    finally:
        pods.machine.kubectl("-n", "shop", "label", "pod", "other", "role=other", "--overwrite")
    pods.settle(FRIENDS.expected)


def test_connections_continue_while_the_engine_restarts(pods: ProbePods) -> None:
    pods.enforce(FRIENDS)
    assert pods.passes("friend keep web 8080") == [True]
    restart = f"systemctl restart {ENGINE}"
    assert pods.passes("friend again", "friend tcp web 8080", "friend udp web 8080", first=restart) == [True] * 3
    pods.settle(FRIENDS.expected)
    assert pods.passes("friend again") == [True]


def test_flushed_rules_come_back(pods: ProbePods) -> None:
    pods.enforce(FRIENDS)
    pods.machine.on(f"nft delete table inet {ENGINE}")
    # A restart that comes too early on a slow machine makes the next one come later.
    pods.settle(FRIENDS.expected, patience=1800)


def test_without_the_setting_all_packets_pass_and_no_rule_is_left(pods: ProbePods) -> None:
    machine = pods.machine
    pods.enforce(DENIED)
    machine.set()
    machine.run("deploy.py")
    pods.settle(dict.fromkeys(DENIED.expected, True))
    assert ENGINE not in machine.on("nft list tables")
    assert machine.on(f"systemctl show -p LoadState --value {ENGINE}") == "not-found"
    assert machine.on(f"find /etc /opt/kubekeel/bin -name '{ENGINE}*'") == ""
    # The API server warns again that policies are not enforced.
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "unheard", "namespace": "shop"},
        "spec": {"podSelector": {}},
    }
    done = machine.lab("kubectl", "apply", "-f", "-", given=json.dumps(policy), patience=PATIENCE)
    assert "does not enforce network policies" in done.stderr
    assert machine.changes() == []
