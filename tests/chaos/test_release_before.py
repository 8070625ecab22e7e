"""A plain deploy updates a cluster of an earlier Kubekeel, which serves meanwhile."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lab.lab import Lab
from lab.shape import PROJECT
from tests.chaos.balancer import probing, restarts
from tests.clones import to_the_internet
from tests.lab_cluster import server
from tests.lab_command import Command, ready_nodes

# At this commit etcd has no users, nodes have no record of their cluster, and nobody can revoke clients.
BEFORE = "6427ab1"
NODES = {"master", "master2", "master3", "minion1"}


def checked_out(folder: Path) -> Path:
    """Return a clone of this repository at the earlier commit."""
    for command in (
        ("clone", "--quiet", "--no-checkout", str(PROJECT), str(folder)),
        ("-C", str(folder), "checkout", "-q", BEFORE),
    ):
        subprocess.run(["git", "-c", "safe.directory=*", *command], check=True)
    return folder


@pytest.mark.timeout(3600)
def test_a_deploy_updates_a_cluster_of_an_earlier_version_without_an_outage(lab: Command, tmp_path: Path) -> None:
    lab("up", "--no-deploy", "--masters", "3", "--minions", "1")
    # The flannel of that version needs iptables, but its deploy does not install it.
    for node in NODES:
        lab("shell", node, "--", "sh", "-c", "apt-get update -qq && apt-get install -qq -y iptables")
    here, clone = Lab(tmp_path / "lab"), checked_out(tmp_path / "before")
    inventory = clone / "inventory.py"
    inventory.write_text(here.inventory.read_text())
    with (clone / "group_data/all.py").open("a") as settings:
        settings.write((here.inventory.parent / "group_data/all.py").read_text())
    fetch = ("python", "-m", "lab.artifacts", str(inventory), str(here.directory / "bin"))
    subprocess.run([*to_the_internet(), *fetch], cwd=clone, check=True)
    earlier_deploy = ("sh", "-c", f"cd {clone} && pyinfra -y inventory.py deploy.py")
    lab("run", "--", *earlier_deploy, patience=1800)
    assert ready_nodes(lab) == NODES
    look = ("-n", "kube-system", "get", "deployment", "dashboard", "-o", "json")
    image = json.loads(lab("kubectl", *look).stdout)["spec"]["template"]["spec"]["containers"][0]["image"]
    lab("kubectl", "apply", "-f", "-", given=json.dumps(server("web", "minion1", image)))
    lab("kubectl", "wait", "pod", "web", "--for=condition=Ready", "--timeout=180s")
    [web] = (entry for entry in restarts(lab).items() if entry[0].startswith("web "))
    deploy = ("pyinfra", "-y", str(here.inventory), "deploy.py")
    with probing(lab, "minion1") as probes:
        lab("run", "--", *deploy, patience=1800)
    assert probes.failed == []
    assert probes.requests > 20
    assert web in restarts(lab).items()
    assert ready_nodes(lab) == NODES
    again = lab("run", "--", *deploy)
    assert "Success" not in again.stderr.partition("Results:")[0]
