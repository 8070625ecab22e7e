"""A cluster that an earlier Kubekeel made comes to this one by a plain deploy, and serves all the while."""

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

# Before etcd had users, nodes had a record of their cluster, and clients could be revoked.
BEFORE = "6427ab1"
NODES = {"master", "master2", "master3", "minion1"}


def checked_out(folder: Path) -> Path:
    """A clone of this repository as it was then."""
    for command in (
        ("clone", "--quiet", "--no-checkout", str(PROJECT), str(folder)),
        ("-C", str(folder), "checkout", "-q", BEFORE),
    ):
        subprocess.run(["git", "-c", "safe.directory=*", *command], check=True)
    return folder


@pytest.mark.timeout(3600)
def test_a_cluster_of_three_masters_that_an_earlier_version_made_is_brought_along_without_an_outage(
    lab: Command, tmp_path: Path
) -> None:
    lab("up", "--no-deploy", "--masters", "3", "--minions", "1")
    # That version's flannel needed it, and did not say so.
    for node in NODES:
        lab("shell", node, "--", "sh", "-c", "apt-get update -qq && apt-get install -qq -y iptables")
    here, clone = Lab(tmp_path / "lab"), checked_out(tmp_path / "before")
    inventory = clone / "inventory.py"
    inventory.write_text(here.inventory.read_text())
    with (clone / "group_data/all.py").open("a") as settings:
        settings.write((here.inventory.parent / "group_data/all.py").read_text())
    fetch = ("python", "-m", "lab.artifacts", str(inventory), str(here.directory / "bin"))
    subprocess.run([*to_the_internet(), *fetch], cwd=clone, check=True)
    then = ("sh", "-c", f"cd {clone} && pyinfra -y inventory.py deploy.py")
    lab("run", "--", *then, patience=1800)
    assert ready_nodes(lab) == NODES
    look = ("-n", "kube-system", "get", "deployment", "dashboard", "-o", "json")
    image = json.loads(lab("kubectl", *look).stdout)["spec"]["template"]["spec"]["containers"][0]["image"]
    lab("kubectl", "apply", "-f", "-", given=json.dumps(server("web", "minion1", image)))
    lab("kubectl", "wait", "pod", "web", "--for=condition=Ready", "--timeout=180s")
    [web] = (each for each in restarts(lab).items() if each[0].startswith("web "))
    deploy = ("pyinfra", "-y", str(here.inventory), "deploy.py")
    with probing(lab, "minion1") as probes:
        lab("run", "--", *deploy, patience=1800)
    assert probes.failed == []
    assert probes.asked > 20
    assert web in restarts(lab).items()
    assert ready_nodes(lab) == NODES
    again = lab("run", "--", *deploy)
    assert "Success" not in again.stderr.partition("Results:")[0]
