"""How many hosts may be unreachable, and which ones never."""

from __future__ import annotations

import pytest

from kubekeel.absence import most, refusals
from kubekeel.membership import Member, addresses
from kubekeel.status import NodeStatus, Status
from tests.clusters import GROUPS, HOSTS, cluster, faults, of_host

MINIONS = {f"w{number}": {"address": f"192.0.2.{10 + number}"} for number in range(7)}
LARGE = (GROUPS | {"minions": ["a", "b", *MINIONS]}, HOSTS | MINIONS)


@pytest.mark.parametrize(
    ("unreachable", "hosts", "allowed"),
    [("refuse", 10, 0), (2, 10, 2), ("10%", 10, 1), ("10%", 3, 1), ("25%", 10, 2), ("100%", 10, 10)],
)
def test_a_number_or_percentage_of_hosts_may_be_unreachable(unreachable: object, hosts: int, allowed: int) -> None:
    assert most(cluster(unreachable=unreachable), hosts) == allowed


def test_as_many_unreachable_hosts_as_allowed_are_accepted() -> None:
    assert list(refusals(cluster(*LARGE, unreachable=2), ["w1", "w2"], 10)) == []


def test_more_unreachable_hosts_than_allowed_are_refused() -> None:
    [line] = refusals(cluster(*LARGE, unreachable=2), ["w1", "w2", "w3"], 10)
    assert line.startswith("unreachable: too many hosts are unreachable (3 of 10, 2 allowed); ")


def test_an_unreachable_master_is_always_refused() -> None:
    [line] = refusals(cluster(*LARGE, unreachable="100%"), ["m", "w1"], 10)
    assert line.startswith("unreachable: every master must be reachable (not m)")


def test_unreachable_members_are_refused_only_where_etcd_loses_its_quorum() -> None:
    assert list(refusals(cluster(*LARGE, unreachable="100%"), ["a"], 10)) == []
    [line] = refusals(cluster(*LARGE, unreachable="100%"), ["a", "b"], 10)
    assert line.startswith("unreachable: etcd loses its quorum without these members (a, b)")


def test_a_member_in_maintenance_counts_as_unreachable() -> None:
    groups, hosts = LARGE
    there = cluster(groups, hosts | {"b": hosts["b"] | {"maintenance": True}}, unreachable="100%")
    [line] = refusals(there, ["a"], 9)
    assert "(a)" in line


@pytest.mark.parametrize("value", [0, -1, True, "0%", "101%", "some", None, 1.5])
def test_a_value_that_is_neither_number_nor_percentage_is_refused(value: object) -> None:
    [fault] = faults(unreachable=value)
    assert fault.startswith("unreachable: does not say how many hosts may be unreachable")


@pytest.mark.parametrize("names", [["m"], ["a", "b"]])
def test_maintenance_of_hosts_that_the_cluster_needs_is_refused(names: list[str]) -> None:
    found = faults(hosts=HOSTS | {name: HOSTS[name] | {"maintenance": True} for name in names})
    assert any("has too few hosts that are not in maintenance" in fault for fault in found)


def test_a_host_in_maintenance_stays_a_node_and_a_member() -> None:
    there = cluster(hosts=HOSTS | {"b": HOSTS["b"] | {"maintenance": True}})
    assert there.node("b").maintenance
    assert "192.0.2.3" in there.etcd_endpoints


def test_maintenance_is_true_or_false() -> None:
    assert "maintenance" in "".join(of_host(maintenance="yes"))


def test_the_status_names_a_host_in_maintenance_and_stays_healthy() -> None:
    def seen(*maintenance: str) -> Status:
        there = (
            Member("1", "m", "https://192.0.2.1:2380", learner=False, healthy=True),
            Member("2", "b", "https://192.0.2.3:2380", learner=False, healthy=False),
        )
        node = NodeStatus("m", "192.0.2.1", members=there)
        return Status(
            "c", "v1", 30, (node,), etcd=addresses(cluster(GROUPS | {"etcd": ["m", "b"]}).etcd), maintenance=maintenance
        )

    assert not seen().healthy
    assert seen("b").healthy
    assert "b: is in maintenance, so runs leave it out" in "\n".join(seen("b").notes())
