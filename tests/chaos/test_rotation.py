"""All keys of a cluster with three masters are replaced while it serves; the first run is killed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kubekeel.pki import Pki
from lab.lab import Lab
from run.inventory import described, open_inventory
from tests.chaos.balancer import probing, restarts
from tests.lab_command import Command, ready_nodes


@pytest.mark.timeout(5400)
def test_all_keys_are_replaced_without_a_failed_request_or_a_restarted_pod(lab: Command, tmp_path: Path) -> None:
    lab("up", "--masters", "3", "--minions", "1", patience=1800)
    here = Lab(tmp_path / "lab")
    cluster = described(open_inventory(here.inventory))
    old = shutil.copy(here.state_directory / "admin.conf", tmp_path / "old.conf")
    before = restarts(lab)
    rotate = ("pyinfra", "-y", str(here.inventory), "actions/rotate.py", "--data", "what=all")
    with probing(lab, "minion1") as probes:
        lab("run", "--", "timeout", "--signal=KILL", "200", *rotate, check=False)
        lab("run", "--", *rotate, patience=3600)
    assert probes.failed == []
    assert probes.requests > 100
    assert restarts(lab) == before
    assert ready_nodes(lab) == {"master", "master2", "master3", "minion1"}
    assert set(Pki.open(here.state_directory, cluster).generations().values()) == {(2,)}
    refused = lab("run", "--", "kubectl", f"--kubeconfig={old}", "get", "nodes", check=False)
    assert "x509" in refused.stderr or "Unauthorized" in refused.stderr
    deploy = ("pyinfra", "-y", str(here.inventory), "deploy.py")
    again = lab("run", "--", *deploy)
    assert "Success" not in again.stderr.partition("Results:")[0]
