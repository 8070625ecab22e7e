"""Hosts that move between groups, from minion to master and back, also by killed runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from kubekeel.etcd_access import NETWORK
from operations.etcd import ETCDCTL
from tests.chaos.machines import acted, inventory_of, members, on
from tests.lab_cluster import INVENTORY, run_kubectl, the_cluster
from tests.support import Deploy, deploy, deployed, fetching, harm, settled, wait_healthy

CLUSTER = the_cluster()
MASTER, MOVED = CLUSTER.masters[0], CLUSTER.minions[0]
STAYS = CLUSTER.minions[-1]

pytestmark = [
    pytest.mark.timeout(7200),
    pytest.mark.skipif(len(CLUSTER.minions) < 2, reason="needs two minions"),
]

OF_MASTERS = """
cd /etc/kubernetes
ls manifests/*.yaml *.conf pki/*.key *.yaml 2>/dev/null |
  grep -v -e kubelet -e kube-proxy
/opt/kubekeel/bin/crictl pods --quiet --label tier=control-plane
true
"""
OF_NODES = """
ls -d /etc/kubernetes/[!p]* /etc/kubernetes/pki/* /etc/flannel /etc/cni 2>/dev/null
ls -d /var/lib/cni /var/lib/containerd/* /var/lib/kube* 2>/dev/null
systemctl list-unit-files --no-legend | grep -E '^(kubelet|containerd|flanneld|kube-proxy|api-balancer|kubekeel-heal)'
ip -brief link | grep -E '^(cni0|flannel)'
nft list tables | grep -E 'kube-proxy|flannel'
true
"""
"""A script that lists everything that a host with only a member of etcd must not have."""


@pytest.fixture(autouse=True, scope="module")
def _as_before() -> Iterator[None]:
    yield
    deployed()
    wait_healthy(300)


@pytest.fixture
def two_masters(tmp_path: Path) -> Path:
    return inventory_of(tmp_path / "two", groups={"masters": [MASTER.name, MOVED.name], "minions": [STAYS.name]})


def roles(name: str) -> set[str]:
    """Return the role labels and taints of a Node, without their prefix."""
    node = json.loads(run_kubectl("get", "node", name, "-o", "json"))
    taints = {f"taint {each['key'].partition('/')[2]}" for each in node["spec"].get("taints", ())}
    return taints | {
        label.partition("/")[2] for label in node["metadata"]["labels"] if label.startswith("node-role.kubernetes.io/")
    }


@pytest.mark.usefixtures("servers")
def test_a_minion_becomes_a_master_and_leaves_nothing_when_it_goes_back(kubectl, namespace, two_masters: Path) -> None:
    port = json.loads(kubectl("-n", namespace, "get", "service", "web", "-o", "json"))["spec"]["ports"][0]["nodePort"]
    with (
        harm(f"{MOVED.name} becomes a master, and a minion again", "its keys go; no request to a service fails") as row,
        fetching(f"http://{STAYS.address}:{port}") as traffic,
    ):
        acted("deploy.py", inventory=two_masters)
        assert roles(MOVED.name) == {"control-plane", "taint control-plane"}
        assert deploy(inventory=two_masters).changes == []
        deployed()
        assert roles(MOVED.name) == {"minion"}
        assert on(MOVED, OF_MASTERS).split() == []
        settled()
        row.seen = f"{len(traffic.bad)} of {len(traffic.good)} requests failed"
        assert not traffic.bad


def test_the_same_command_continues_a_change_of_roles_killed_at_each_operation(two_masters: Path) -> None:
    what = f"{MOVED.name} becomes a master and a minion again, with a SIGKILL at each operation"
    with harm(what, "the same command ends it, the next run changes nothing; nothing is left") as row:
        row.seen = f"{kill_at_each_operation(two_masters)} cuts there"
        deployed(inventory=two_masters)
        assert deployed(inventory=two_masters).changes == []
        assert roles(MOVED.name) == {"control-plane", "taint control-plane"}
        row.seen += f", {kill_at_each_operation(INVENTORY, later=0.5)} back"
        settled()
        assert roles(MOVED.name) == {"minion"}
        assert on(MOVED, OF_MASTERS).split() == []


def test_a_host_that_stays_only_in_etcd_has_no_remains_of_a_node(tmp_path: Path) -> None:
    alone = inventory_of(tmp_path / "alone", groups={"minions": [STAYS.name]})
    what = f"{MOVED.name} leaves the minions and stays in etcd, with a SIGKILL at each operation"
    with harm(what, "the same command ends it; no Node, process, rule, route or key is left") as row:
        row.seen = f"{kill_at_each_operation(alone, later=0.5)} cuts"
        deployed(inventory=alone)
        assert deployed(inventory=alone).changes == []
        assert MOVED.name not in run_kubectl("get", "nodes", "-o", "name")
        assert on(MOVED, OF_NODES).split() == []
        assert MOVED.name in members(MASTER)
        assert f'"{MOVED.address}"' not in on(MASTER, f"{ETCDCTL} get --prefix {NETWORK}/subnets/")
        assert MOVED.address not in on(STAYS, "ip route")
        settled()
        wait_healthy(300)
        assert roles(MOVED.name) == {"minion"}


def kill_at_each_operation(inventory: Path, later: float = 0) -> int:
    """Kill a deploy at each of its operations in turn, or `later` seconds after; return the number of kills."""
    for cuts in count():
        with Deploy(inventory=inventory) as run:
            if not run.until(partial(has_begun, run, cuts + 1)):
                assert run.wait() == 0, run.lines
                assert cuts >= 10
                return cuts
            time.sleep(later)
    raise AssertionError


def has_begun(run: Deploy, operations: int) -> bool:
    return run.operations >= operations
