"""Network policies on a kernel with nft_queue: what they let through, packet by packet. All pods are on one node."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab_cluster import wait_until
from tests.vm import probes
from tests.vm.conftest import PATIENCE, Machine
from tests.vm.policies import CASES, Case
from tests.vm.probes import Town

pytestmark = pytest.mark.timeout(2 * PATIENCE)

ENGINE = "kube-network-policies"
DENIED = next(case for case in CASES if case.name == "default deny of ingress, of a namespace")
FRIENDS = next(case for case in CASES if case.name == "ingress by labels of pods")
TO_A_PORT = next(case for case in CASES if case.name == "ingress from some pods to one port")
NOTHING = CASES[-1]


@pytest.fixture(scope="module")
def enforced(machine: Machine) -> Iterator[Machine]:
    """The machine with what enforces policies; it is taken off again."""
    machine.set(network_policy=ENGINE)
    machine.fetch()
    machine.run("deploy.py")
    yield machine
    machine.set()
    if machine.on(f"ls /etc/systemd/system/{ENGINE}.service 2>/dev/null || true"):
        machine.run("deploy.py")


@pytest.fixture(scope="module")
def town(enforced: Machine) -> Iterator[Town]:
    yield probes.build(enforced, enforced.image())
    probes.leave(enforced)


def test_the_engine_serves_and_a_second_run_changes_nothing(enforced: Machine) -> None:
    assert ENGINE in enforced.run("actions/status.py")
    assert enforced.changes() == []
    modules = enforced.on("lsmod | awk '{print $1}'").split()
    assert {"nft_queue", "nfnetlink_queue"} <= set(modules)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_policies_let_through_what_they_allow_and_no_more(case: Case, town: Town) -> None:
    town.enforce(case)


def test_a_connection_that_policies_allow_goes_on_when_they_change(town: Town) -> None:
    town.enforce(FRIENDS)
    assert town.passes("friend keep web 8080") == [True]
    town.enforce(TO_A_PORT)
    assert town.passes("friend again") == [True]


def test_a_connection_ends_once_a_policy_forbids_it(town: Town) -> None:
    town.enforce(FRIENDS)
    assert town.passes("friend keep web 8080") == [True]
    town.enforce(DENIED)
    # What is there already is looked at every half minute.
    wait_until(lambda: town.passes("friend again") == [False], 300, "the connection ends")


def test_a_pod_whose_labels_change_falls_under_other_policies(town: Town) -> None:
    town.enforce(FRIENDS)
    of_other = {packet: packet.source == "other" for packet in FRIENDS.expected if packet.source == "other"}
    town.machine.kubectl("-n", "shop", "label", "pod", "other", "role=friend", "--overwrite")
    try:
        town.settle(of_other)
    finally:
        town.machine.kubectl("-n", "shop", "label", "pod", "other", "role=other", "--overwrite")
    town.settle(FRIENDS.expected)


def test_connections_go_on_while_the_engine_restarts(town: Town) -> None:
    town.enforce(FRIENDS)
    assert town.passes("friend keep web 8080") == [True]
    restart = f"systemctl restart {ENGINE}"
    assert town.passes("friend again", "friend tcp web 8080", "friend udp web 8080", first=restart) == [True] * 3
    town.settle(FRIENDS.expected)
    assert town.passes("friend again") == [True]


def test_rules_that_somebody_flushed_come_back(town: Town) -> None:
    town.enforce(FRIENDS)
    town.machine.on(f"nft delete table inet {ENGINE}")
    town.settle(FRIENDS.expected)


def test_set_to_nothing_again_all_packets_pass_and_no_rule_is_left(town: Town) -> None:
    machine = town.machine
    town.enforce(DENIED)
    machine.set()
    machine.run("deploy.py")
    town.settle(dict.fromkeys(DENIED.expected, True))
    assert ENGINE not in machine.on("nft list tables")
    assert machine.on(f"systemctl show -p LoadState --value {ENGINE}") == "not-found"
    assert machine.on(f"find /etc /opt/kubekeel/bin -name '{ENGINE}*'") == ""
    # Who makes a policy is told again that nobody enforces it.
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "unheard", "namespace": "shop"},
        "spec": {"podSelector": {}},
    }
    told = machine.lab("kubectl", "apply", "-f", "-", given=json.dumps(policy), patience=PATIENCE)
    assert "does not enforce network policies" in told.stderr
    assert machine.changes() == []
