"""Every key of a cluster with three masters is replaced while it serves, by runs of which one is killed."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kubekeel.pki import Pki
from lab.lab import Lab
from run.inventory import described, open_inventory
from tests.lab_command import Command, ready_nodes

# By the balancer of a node, each request over a connection of its own. A pair is replaced file by file.
PROBES = """
kubectl="/opt/kubekeel/bin/kubectl --kubeconfig=/etc/kubernetes/kubelet.conf get --raw /api/v1/nodes/$(hostname)"
asked=0
until [ -e /run/probes-end ]; do
  said=$($kubectl 2>&1) || case $said in
  *"does not match"*) ;;
  *) echo "failed $said" ;;
  esac
  asked=$((asked + 1))
  sleep 0.2
done
echo "asked $asked"
"""


def pods(lab: Command) -> dict[str, int]:
    """The restarts of each pod's containers that is no static one, by its name and uid."""
    found = json.loads(lab("kubectl", "get", "pods", "-A", "-o", "json").stdout)["items"]
    return {
        f"{pod['metadata']['name']} {pod['metadata']['uid']}": sum(
            each["restartCount"] for each in pod["status"].get("containerStatuses", ())
        )
        for pod in found
        if "kubernetes.io/config.mirror" not in pod["metadata"].get("annotations", {})
    }


@pytest.mark.timeout(5400)
def test_all_keys_are_replaced_without_a_failed_request_or_a_restarted_pod(
    lab: Command,
    tmp_path: Path,
) -> None:
    lab("up", "--masters", "3", "--minions", "1", patience=1800)
    here = Lab(tmp_path / "lab")
    cluster = described(open_inventory(here.inventory))
    old = shutil.copy(here.state_directory / "admin.conf", tmp_path / "old.conf")
    before = pods(lab)
    rotate = ("pyinfra", "-y", str(here.inventory), "actions/rotate.py", "--data", "what=all")
    with ThreadPoolExecutor() as other:
        probes = other.submit(lab, "shell", "minion1", "--", "sh", "-c", PROBES, patience=4800)
        try:
            lab("run", "--", "timeout", "--signal=KILL", "200", *rotate, check=False)
            lab("run", "--", *rotate, patience=3600)
        finally:
            lab("shell", "minion1", "--", "touch", "/run/probes-end")
        *failed, asked = probes.result().stdout.splitlines()
    assert failed == []
    assert int(asked.removeprefix("asked ")) > 100
    assert pods(lab) == before
    assert ready_nodes(lab) == {"master", "master2", "master3", "minion1"}
    assert set(Pki.open(here.state_directory, cluster).generations().values()) == {(2,)}
    refused = lab("run", "--", "kubectl", f"--kubeconfig={old}", "get", "nodes", check=False)
    assert "x509" in refused.stderr or "Unauthorized" in refused.stderr
    deploy = ("pyinfra", "-y", str(here.inventory), "deploy.py")
    again = lab("run", "--", *deploy)
    assert "Success" not in again.stderr.partition("Results:")[0]
