"""A plain deploy updates a cluster of an earlier Kubekeel, which serves meanwhile."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.lab import Lab
from lab.shape import PROJECT
from tests.chaos.traffic import in_use, restarts
from tests.clones import to_the_internet
from tests.lab_command import Command, ready_nodes
from tests.support import harm

# At this commit etcd has no users, nodes have no record of their cluster, and nobody can revoke clients.
BEFORE = "6427ab1"
USERS = ("client ", "web-")
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
    deploy = ("pyinfra", "-y", str(here.inventory), "deploy.py")
    with harm(f"a deploy to a cluster of {BEFORE}", "every request is answered, no pod restarts") as row:
        with in_use(lab, tmp_path) as seen:
            before = {pod: count for pod, count in restarts(lab).items() if pod.startswith(USERS)}
            lab("run", "--", *deploy, patience=1800)
            assert restarts(lab).items() >= before.items()
        row.seen = str(seen)
    assert not seen.failed, seen.failed
    assert seen.lost == []
    assert all(count > 20 for count in seen.answers.values()), seen.answers
    assert ready_nodes(lab) == NODES
    again = lab("run", "--", *deploy)
    assert "Success" not in again.stderr.partition("Results:")[0]
