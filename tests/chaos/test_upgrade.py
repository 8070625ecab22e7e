"""Upgrades and downgrades of Kubernetes and its parts while a service is in use, also killed or failing.

Any shape of lab will do. With one master the API is down while it restarts, with three it is not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.shape import PROJECT
from tests import clones
from tests.chaos import skew
from tests.chaos.machines import cordoned, fetched, lose, on, serve
from tests.chaos.traffic import balancers, services
from tests.lab_cluster import INVENTORY, run_kubectl, the_cluster
from tests.support import (
    Deploy,
    Row,
    Run,
    deploy,
    deployed,
    harm,
    probing,
    settled,
    status,
    wait_healthy,
    writing,
)

CLUSTER = the_cluster()
OLD, NEW = "v1.36.3", CLUSTER.kubernetes_version
# A patch release of the old minor version, and versions of parts that work with the new one.
PATCH = "v1.36.1"
NAMESPACE = "upgrade"
AUDIT_POLICY = "files/control_plane/audit-policy.yaml"
PARTS = [("etcd", "v3.6.16"), ("containerd", "v2.4.1")]

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(len(CLUSTER.minions) < 2, reason="needs two minions"),
]


@pytest.fixture(autouse=True, scope="module")
def _as_before() -> Iterator[None]:
    yield
    deployed()
    wait_healthy(300)


def versions() -> dict[str, str]:
    """Return the version of each Node's kubelet."""
    nodes = json.loads(run_kubectl("get", "nodes", "-o", "json"))["items"]
    return {node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes}


def recreate(inventory: Path, project: Path = PROJECT) -> None:
    """Deploy an inventory to new machines, and make a service of two replicas, one of which must always run."""
    lose(*CLUSTER.nodes)
    deployed("--data", f"confirm={CLUSTER.name}", inventory=inventory, project=project)
    serve(NAMESPACE)


def recreate_old(folder: Path, project: Path = PROJECT) -> Path:
    """Recreate the cluster at the previous minor version, and return its inventory."""
    inventory = fetched(folder, kubernetes_version=OLD)
    recreate(inventory, project)
    assert versions() == dict.fromkeys(versions(), OLD)
    return inventory


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The inventory of the cluster, recreated at the previous minor version."""
    return recreate_old(tmp_path / "old")


@pytest.fixture
def audited(tmp_path: Path) -> Path:
    """A clone whose API servers log all requests; it has recreated the cluster at the previous minor version."""
    clone = clones.changed(tmp_path / "clone", AUDIT_POLICY, "rules:\n", "rules:\n  - level: Metadata\n")
    recreate_old(tmp_path / "old", clone)
    return clone


def deploy_without_outage(
    row: Row, folder: Path, *arguments: str, inventory: Path = INVENTORY, project: Path = PROJECT
) -> Run:
    """Deploy while the service is in use; no request may fail, and no write be lost.

    With one master, requests to the API fail while its API server restarts.
    """
    again: list[str] = []
    with ExitStack() as stack, probing() as api, writing(NAMESPACE) as writes:
        users = services() | (balancers(stack, folder, again) if len(CLUSTER.masters) > 1 else {})
        traffic = {name: stack.enter_context(user) for name, user in users.items()}
        run = deployed(*arguments, inventory=inventory, project=project)
    bad = [f"{name}: {fault}" for name, user in traffic.items() for fault in user.bad.values()]
    row.seen = (
        f"{len(bad)} of {sum(len(user.good) for user in traffic.values())} requests failed, {len(again)} succeeded at"
        f" the second try; {len(writes.lost())} of {len(writes.good)} writes lost;"
        f" {CLUSTER.masters[0].name}'s API server away for {api.gap:.0f} s at most"
    )
    assert not bad, bad[:3]
    assert not writes.lost()
    return run


def no_component_was_ahead_of_an_api_server() -> None:
    """Assert it by the audit logs, which must show each component in both versions."""
    logs = {master.name: skew.read(on(master, skew.REQUESTS)) for master in CLUSTER.masters}
    assert skew.unseen([request for requests in logs.values() for request in requests], OLD, NEW) == []
    found = [(name, component) for name, each in logs.items() for component in skew.ahead(each, OLD, NEW)]
    assert found == []


# The seconds after which a run that drains a node is killed.
MOMENTS = (1.0, 12.0, 4.0, 20.0, 8.0)
EXPECTED = "no request to a service fails, no write is lost"


def test_an_upgrade_interrupts_no_service_and_starts_with_the_api_servers(tmp_path: Path, audited: Path) -> None:
    with harm(f"{OLD} to {NEW}, {len(CLUSTER.masters)} master(s)", EXPECTED) as row:
        run = deploy_without_outage(row, tmp_path, project=audited)
    assert f"upgrade of Kubernetes {OLD} to {NEW}:" in run.output
    assert set(versions().values()) == {NEW}
    assert cordoned() == []
    no_component_was_ahead_of_an_api_server()
    settled()


def test_a_patch_downgrade_and_upgrade_leave_pods_in_place(tmp_path: Path, old: Path) -> None:
    before, patch = containers(), fetched(tmp_path / "patch", kubernetes_version=PATCH)
    for version, inventory, way in ((PATCH, patch, ("--data", "downgrade=patch")), (OLD, old, ())):
        with harm(f"to {version}, {len(CLUSTER.masters)} master(s)", EXPECTED) as row:
            deploy_without_outage(row, tmp_path, *way, inventory=inventory)
        assert set(versions().values()) == {version}
    assert containers() == before


@pytest.mark.parametrize(("part", "version"), PARTS)
def test_an_upgrade_of_one_part_leaves_pods_in_place(tmp_path: Path, part: str, version: str) -> None:
    recreate(fetched(tmp_path / "old", versions={part: version}))
    before = containers()
    with harm(f"{part} {version} to the catalogue's, {len(CLUSTER.masters)} master(s)", EXPECTED) as row:
        run = deploy_without_outage(row, tmp_path)
    assert f"{part}" in run.output
    assert containers() == before
    settled()


def containers() -> list[str]:
    """Return the IDs of the service's containers."""
    pods = json.loads(run_kubectl("-n", NAMESPACE, "get", "pods", "-o", "json"))["items"]
    return sorted(each["containerID"] for pod in pods for each in pod["status"]["containerStatuses"])


def test_the_same_command_continues_an_upgrade_killed_at_each_operation_and_in_turns(audited: Path) -> None:
    with harm(f"{OLD} to {NEW}, killed again and again", "the same command ends it; no node stays cordoned") as row:
        cuts, moments, progress = 0, [*MOMENTS], set[str]()
        while True:
            with Deploy(project=audited) as run:
                if not run.until(lambda run=run, cuts=cuts: run.operations > cuts or (moments and drains(run))):
                    break
                if run.operations > cuts:
                    cuts += 1
                else:
                    time.sleep(moments.pop())
            progress.add(str(status()["upgrade"]))
        in_turns = len(MOMENTS) - len(moments)
        row.seen = f"killed at each of {cuts} operations, and {in_turns} times in nodes' turns; {sorted(progress)}"
    assert in_turns >= 3
    assert cuts >= 10
    assert any(line.startswith(f"upgrade {OLD} to {NEW}: ") for line in progress)
    no_component_was_ahead_of_an_api_server()
    settled()
    assert set(versions().values()) == {NEW}
    assert cordoned() == []


def drains(run: Deploy) -> bool:
    return any("is being drained" in line for line in run.lines)


@pytest.mark.usefixtures("old")
def test_a_node_that_users_cordoned_stays_cordoned() -> None:
    kept = CLUSTER.minions[0].name
    # Without that node, the other nodes may have no room for both pods of the service.
    run_kubectl("delete", "namespace", NAMESPACE)
    run_kubectl("cordon", kept)
    try:
        deployed()
        assert versions()[kept] == NEW
        assert cordoned() == [kept]
    finally:
        run_kubectl("uncordon", kept)


def failing_deploy(clone: Path, what: str, expected: str) -> Run:
    """Deploy from a clone with a fault, which ends the run; the cluster must be healthy afterwards."""
    with harm(what, expected) as row, probing() as api:
        run = deploy(project=clone)
        wait_healthy(180)
    row.seen = f"status {run.status}; the first master's API server away for {api.gap:.0f} s"
    assert run.status == 1
    return run


@pytest.mark.parametrize(
    ("file", "good", "bad"),
    [
        (
            "templates/control_plane/kube-apiserver.yaml.j2",
            "- kube-apiserver\n",
            "- kube-apiserver\n        - --no-such-flag\n",
        ),
        (AUDIT_POLICY, "omitStages: [RequestReceived]", "omitStages: never"),
    ],
    ids=["an unknown flag", "a bad audit policy"],
)
def test_an_api_server_that_cannot_start_ends_the_run_at_the_first_master(
    tmp_path: Path, file: str, good: str, bad: str
) -> None:
    deployed()
    clone = clones.changed(tmp_path / "clone", file, good, bad)
    run = failing_deploy(clone, "an API server that exits", "ended at the first master; the API serves as before")
    first, *others = CLUSTER.masters
    assert f"{first.name}: restored the previous kube-apiserver, because the new one did not serve" in run.output
    for other in others:
        assert "--no-such-flag" not in on(other, "cat /etc/kubernetes/manifests/kube-apiserver.yaml")
    assert deploy().changes == []


def test_an_etcd_that_cannot_start_ends_the_run_at_the_first_member_and_serves_again(tmp_path: Path) -> None:
    deployed()
    unit, flag = "etcd.service", "--no-such-flag"
    clone = clones.changed(
        tmp_path / "clone", f"templates/systemd/{unit}.j2", "  --data-dir", f"  {flag} \\\n  --data-dir"
    )
    run = failing_deploy(clone, "an etcd that exits", "ended at the first member, which serves as before")
    first, *others = CLUSTER.etcd
    assert f"{first.name}: restored the previous {unit}, because the new one did not serve" in run.output
    assert flag not in on(first, f"cat /etc/systemd/system/{unit}")
    for other in others:
        assert flag not in on(other, "tr '\\0' ' ' <\"/proc/$(systemctl show -p MainPID --value etcd)/cmdline\"")
    settled()
