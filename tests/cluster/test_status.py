"""The status of the whole cluster, and the archive of its logs."""

from __future__ import annotations

import fcntl
import subprocess
import tarfile
from pathlib import Path

import pytest

from kubekeel.nodes import DRAINED
from kubekeel.restart import MARK
from tests.support import (
    CLUSTER,
    INVENTORY,
    PROJECT,
    STATE,
    deployed,
    healthy_status,
    host_of,
    run_kubectl,
    status,
    units_of,
    wait_healthy,
)


def test_a_healthy_cluster_is_shown_with_all_components_and_certificates() -> None:
    # Other specs may have removed something a moment ago.
    found = healthy_status(120)
    for node, seen in zip(CLUSTER.nodes, found["nodes"], strict=True):
        assert seen["name"] == node.name
        assert {each["name"] for each in seen["components"]} >= set(units_of(node))
        on_disk = host_of(node).check_output("find /etc/kubernetes /etc/etcd /etc/flannel -name '*.crt'").split()
        assert {each["path"] for each in seen["certificates"]} == set(on_disk)
        assert all(each["days_left"] > 0 for each in seen["certificates"])
        assert seen["kubekeel_version"] == found["kubekeel_version"] != ""
    assert sum(bool(seen["member"] and seen["member"]["leads"]) for seen in found["nodes"]) == 1


def test_one_screen_shows_every_node_and_a_stopped_component_during_a_run() -> None:
    node = CLUSTER.minions[-1]
    host_of(node).check_output("systemctl stop kube-proxy; echo >>/etc/crictl.yaml")
    try:
        with (STATE / "run.lock").open("a") as lock:
            # Hold the lock as a run does; if another run holds it, wait.
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = subprocess.run(
                ["pyinfra", "-y", str(INVENTORY), "actions/status.py"], cwd=PROJECT, capture_output=True, text=True
            )
    finally:
        host_of(node).check_output("systemctl start kube-proxy; sed -i '$d' /etc/crictl.yaml")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert len(lines) < 60
    assert all(other.name in done.stdout for other in CLUSTER.nodes)
    assert f"{node.name}: kube-proxy does not serve (not active)" in done.stdout
    assert f"{node.name}: 1 of its files differ from their description (/etc/crictl.yaml); deploy again" in done.stdout
    assert lines[-1].strip() == "not healthy"
    wait_healthy(60)


def test_a_node_that_an_interrupted_restart_left_drained_is_shown_until_a_deploy() -> None:
    node = CLUSTER.minions[-1]
    run_kubectl("cordon", node.name)
    run_kubectl("label", "node", node.name, f"{DRAINED}=yes")
    host_of(node).check_output(f"touch {MARK}")
    try:
        notes = status()["notes"]
        deployed()
    finally:
        host_of(node).check_output(f"rm {MARK}")
    assert f"{node.name}: takes no pods during a change; if no run is changing it, deploy again" in notes
    assert [note for note in notes if note.startswith(f"{node.name}: its restart is not finished; ")]
    assert healthy_status(120)["notes"] == []


def test_the_html_page_shows_every_node_with_its_memory_and_disks(tmp_path: Path) -> None:
    wait_healthy(120)
    page = tmp_path / "status.html"
    done = subprocess.run(
        ["pyinfra", "-y", str(INVENTORY), "actions/status.py", "--data", f"html={page}"],
        cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert f"<title>{CLUSTER.name}: healthy</title>" in text
    assert [each.name for each in tmp_path.iterdir()] == ["status.html"]
    for node, seen in zip(CLUSTER.nodes, status()["nodes"], strict=True):
        assert f'id="node-{node.name}"' in text
        assert {*seen["roles"]} == node.roles
        assert 0 < seen["memory"]["free"] < seen["memory"]["size"]
        assert seen["disks"]
        assert all(f"disk {disk['name']}" in text for disk in seen["disks"])


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Return the folder of the logs that actions/collect.py gathers."""
    done = subprocess.run(
        ["pyinfra", "-y", str(INVENTORY), "actions/collect.py"], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    archive = Path(done.stdout.strip())
    try:
        assert archive.stat().st_mode & 0o777 == 0o600
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path, filter="data")
    finally:
        archive.unlink()
    return tmp_path / archive.name.removesuffix(".tar.gz")


def test_logs_of_every_node_are_gathered_without_secrets(logs: Path, namespace) -> None:
    for node in CLUSTER.nodes:
        names = {path.name for path in (logs / node.name).iterdir() if path.stat().st_size}
        assert names >= {"system.txt", "network.txt", "files.txt", "versions.txt", "containers.txt", "cluster.json"}
        assert names >= {f"journal-{unit}.txt" for unit in units_of(node)}
    master = logs / CLUSTER.masters[0].name
    assert "kube-apiserver" in (master / "kubectl-get.txt").read_text()
    assert any(path.name.startswith("container-kube-apiserver-") for path in master.iterdir())

    text = "\n".join(path.read_text(errors="replace") for path in logs.rglob("*.txt"))
    secret_lines = {
        line
        for path in STATE.rglob("*")
        if path.suffix in (".key", ".conf")
        for line in path.read_text().split()
        if len(line) > 40
    }
    assert secret_lines
    assert not any(line in text for line in secret_lines)
    assert "PRIVATE KEY" not in text
    token = run_kubectl("-n", namespace, "create", "token", "default").strip()
    assert token.split(".")[0] not in text
    assert not [path for path in logs.rglob("*") if path.suffix in (".conf", ".key", ".crt", ".yaml")]
    assert {path.name for path in logs.iterdir()} == {node.name for node in CLUSTER.nodes}
