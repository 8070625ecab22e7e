"""A cluster that was off for more than a year comes back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support import (
    CLUSTER,
    PROJECT,
    age_leaves,
    containers,
    deployed,
    harm,
    host_of,
    lab,
    push,
    status,
    wait_healthy,
    wait_until,
)


@pytest.mark.timeout(1800)
def test_a_cluster_whose_certificates_have_all_expired_is_brought_back_by_one_plain_run(kubectl, namespace) -> None:
    kubectl("-n", namespace, "create", "configmap", "kept", "--from-literal=key=value")
    with harm("every leaf expired 35 days ago, all machines restarted", "one plain run brings all back") as row:
        age_leaves(400)
        push(CLUSTER, 400)
        restart_all()
        broken = status()
        assert not broken["healthy"]
        assert any("has expired" in problem for problem in broken["problems"])
        run = deployed()
        healthy = wait_healthy(120)
        assert deployed().changes == []
        kept = json.loads(kubectl("-n", namespace, "get", "configmap", "kept", "-o", "json"))["data"]
        assert kept == {"key": "value"}
        assert all(containers(host_of(node)) for node in CLUSTER.nodes)
        row.seen = (
            f"{len(broken['problems'])} problems before; {len(run.changes)} changes, healthy {healthy:.0f} s later"
        )


def restart_all() -> None:
    """All machines off and on, until they can be logged in to; what starts on them by itself does not end."""
    names = [node.name for node in CLUSTER.nodes]
    lab("stop", *names)
    starting = subprocess.Popen([sys.executable, "-m", "lab", "start", *names], cwd=PROJECT)
    try:
        for node in CLUSTER.nodes:
            wait_until(lambda node=node: host_of(node).run("true").rc == 0, 180, f"{node.name} lets us in")
    finally:
        starting.terminate()
        starting.wait()
