"""Network policies on a kernel with nft_queue: the packets that they allow and block. All pods are on one node."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab_cluster import wait_until
from tests.virtual import PATIENCE, Machine
from tests.vm import policy_probes
from tests.vm.conftest import EARLIER, ENGINE
from tests.vm.policies import CASES, Case
from tests.vm.policy_probes import ProbePods
from tests.vm.policy_results import RESULTS, Results

pytestmark = pytest.mark.timeout(2 * PATIENCE)

DENIED = next(case for case in CASES if case.name == "default deny of ingress, of a namespace")
FRIENDS = next(case for case in CASES if case.name == "ingress by labels of pods")
TO_A_PORT = next(case for case in CASES if case.name == "ingress from some pods to one port")


@pytest.fixture(scope="module")
def pods(machine: Machine) -> Iterator[ProbePods]:
    Results(kernel=machine.on("uname -r")).write(RESULTS)
    with policy_probes.built(machine, machine.image()) as pods:
        yield pods


def test_the_engine_serves(machine: Machine) -> None:
    assert ENGINE in machine.run("actions/status.py")


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
    machine.set(versions=EARLIER)
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
