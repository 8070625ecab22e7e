"""The cost of a second run in commands, bytes and changes, which do not depend on the computer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from testinfra.host import Host

from bench.record import HostCost, Record
from kubekeel.cluster import Cluster, Node
from kubekeel.needs import needs
from lab.shape import PROJECT
from tests.lab_cluster import INVENTORY

COMMANDS = 3
MASTER_FILES = (
    *(f"/etc/kubernetes/{name}.conf" for name in ("admin", "controller-manager", "scheduler")),
    *(f"/etc/kubernetes/pki/{name}.key" for name in ("sa", "apiserver", "admin", "front-proxy-client")),
    *("/etc/kubernetes/manifests", "/etc/kubernetes/encryption-config.yaml", "/etc/kubernetes/addons"),
)


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Return the record of a second run; the first one repairs what other tests left."""
    file = tmp_path_factory.mktemp("again") / "record.json"
    command = [sys.executable, "-m", "bench.recorder", str(file), "-y", str(INVENTORY), "deploy.py"]
    for _ in range(2):
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return Record.read(file)


@pytest.fixture
def cost(again: Record, node: Node) -> HostCost:
    return again.hosts[node.name]


def test_a_second_run_changes_nothing(cost: HostCost) -> None:
    assert cost.changes == 0


def test_a_second_run_sends_at_most_three_commands_to_a_host(cost: HostCost) -> None:
    assert cost.commands <= COMMANDS


def test_a_second_run_transfers_only_kilobytes(cost: HostCost) -> None:
    assert cost.sent < 50_000
    assert cost.received < 100_000


def test_a_node_has_the_binaries_of_its_roles_and_no_others(
    node: Node, cluster: Cluster, on: Callable[[Node], Host]
) -> None:
    stored = on(node).check_output("find /opt/kubekeel/store -mindepth 2 -type f").split()
    assert {Path(file).name for file in stored} == needs(node, cluster).binaries


def test_a_node_has_the_images_of_its_roles_and_no_others(
    node: Node, cluster: Cluster, on: Callable[[Node], Host]
) -> None:
    listed = on(node).check_output("/opt/kubekeel/bin/ctr -n k8s.io images ls -q 'name~=^[^@]+:[^@]+$'").split()
    names = {reference.rpartition("/")[2].partition(":")[0] for reference in listed if "sha256" not in reference}
    assert names == needs(node, cluster).images


def test_a_minion_has_no_file_of_a_master(minion: Node, on: Callable[[Node], Host]) -> None:
    if "masters" in minion.roles:
        pytest.skip("it is a master, too")
    assert on(minion).run(f"ls -d {' '.join(MASTER_FILES)}").stdout == ""
