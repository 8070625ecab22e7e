"""All keys of a cluster with three masters are replaced while it is in use; the first run is killed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kubekeel.pki import Pki
from lab.lab import Lab
from run.inventory import described, open_inventory
from tests.chaos.traffic import in_use, restarts
from tests.lab_command import Command, ready_nodes
from tests.support import harm

NODES = {"master", "master2", "master3", "minion1"}


@pytest.mark.timeout(5400)
def test_all_keys_are_replaced_while_every_request_is_answered_and_no_pod_restarts(
    lab: Command, tmp_path: Path
) -> None:
    lab("up", "--masters", "3", "--minions", "1", patience=1800)
    here = Lab(tmp_path / "lab")
    cluster = described(open_inventory(here.inventory))
    old = shutil.copy(here.state_directory / "admin.conf", tmp_path / "old.conf")
    rotate = ("pyinfra", "-y", str(here.inventory), "actions/rotate.py", "--data", "what=all")
    with harm("all keys rotated, 3 masters, first run killed", "every request is answered, no pod restarts") as row:
        with in_use(lab, tmp_path) as seen:
            before = restarts(lab)
            lab("run", "--", "timeout", "--signal=KILL", "200", *rotate, check=False)
            lab("run", "--", *rotate, patience=3600)
            assert restarts(lab) == before
        row.seen = str(seen)
    assert not seen.failed, seen.failed
    assert seen.lost == []
    assert seen.refused == []
    assert all(count > 100 for count in seen.answers.values()), seen.answers
    assert ready_nodes(lab) == NODES
    assert set(Pki.open(here.state_directory, cluster).generations().values()) == {(2,)}
    refused = lab("run", "--", "kubectl", f"--kubeconfig={old}", "get", "nodes", check=False)
    assert "x509" in refused.stderr or "Unauthorized" in refused.stderr
    deploy = ("pyinfra", "-y", str(here.inventory), "deploy.py")
    again = lab("run", "--", *deploy)
    assert "Success" not in again.stderr.partition("Results:")[0]
    status = lab("run", "--", "pyinfra", "-y", "--json", str(here.inventory), "actions/status.py")
    assert json.loads(status.stdout)["generations"]["ca"] == [2]
