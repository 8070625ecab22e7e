"""Hosts that change their groups: from minion to master and back, with the run killed wherever it may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.machines import acted, inventory_of, on
from tests.lab_cluster import run_kubectl, the_cluster
from tests.support import Deploy, deploy, deployed, fetching, harm, settled, wait_healthy

CLUSTER = the_cluster()
MASTER, MOVED = CLUSTER.masters[0], CLUSTER.minions[0]
STAYS = CLUSTER.minions[-1]

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(len(CLUSTER.minions) < 2, reason="needs two minions"),
]

OF_MASTERS = (
    "ls /etc/kubernetes/manifests/*.yaml /etc/kubernetes/*.conf /etc/kubernetes/pki/{sa,admin,apiserver}*.key"
    " /etc/kubernetes/encryption-config.yaml 2>/dev/null | grep -v -e kubelet.conf -e kube-proxy.conf"
)


@pytest.fixture(autouse=True, scope="module")
def _as_before() -> Iterator[None]:
    yield
    deployed()
    wait_healthy(300)


@pytest.fixture
def two_masters(tmp_path: Path) -> Path:
    return inventory_of(tmp_path / "two", groups={"masters": [MASTER.name, MOVED.name], "minions": [STAYS.name]})


def roles(name: str) -> set[str]:
    """The role labels and taints of a Node, without what their names begin with."""
    node = json.loads(run_kubectl("get", "node", name, "-o", "json"))
    taints = {f"taint {each['key'].partition('/')[2]}" for each in node["spec"].get("taints", ())}
    return taints | {
        label.partition("/")[2] for label in node["metadata"]["labels"] if label.startswith("node-role.kubernetes.io/")
    }


@pytest.mark.usefixtures("servers")
def test_a_minion_becomes_a_master_and_a_minion_again_with_nothing_of_a_master_left(
    kubectl, namespace, two_masters: Path
) -> None:
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
        assert on(MOVED, f"bash -c '{OF_MASTERS}' || true").split() == []
        settled()
        row.seen = f"{len(traffic.bad)} of {len(traffic.good)} requests failed"
        assert not traffic.bad


def test_a_change_of_roles_that_is_killed_at_each_operation_goes_on_by_the_same_command(two_masters: Path) -> None:
    with harm("a change of roles killed at each operation", "the same command ends it; nothing is left") as row:
        acted("deploy.py", inventory=two_masters)
        cuts = 0
        while killed_at(cuts + 1):
            cuts += 1
        row.seen = f"{cuts} cuts"
        assert cuts >= 10
        settled()
        assert roles(MOVED.name) == {"minion"}
        assert on(MOVED, f"bash -c '{OF_MASTERS}' || true").split() == []


def killed_at(operation: int) -> bool:
    """Kill a deploy as its n-th operation begins; False if it has none."""
    with Deploy() as run:
        return run.until(lambda: run.operations >= operation)
