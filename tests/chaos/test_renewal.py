"""A cluster that was off for more than a year."""

from __future__ import annotations

import json
from functools import partial

import pytest

from tests.support import (
    CLUSTER,
    age_leaves,
    containers,
    deployed,
    harm,
    host_of,
    push,
    restart,
    status,
    wait_healthy,
    wait_until,
)


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("servers")
def test_one_plain_run_repairs_a_cluster_whose_certificates_all_expired(kubectl, namespace) -> None:
    kubectl("-n", namespace, "create", "configmap", "kept", "--from-literal=key=value")
    with harm("every leaf expired 35 days ago, all machines restarted", "one plain run brings all back") as row:
        age_leaves(400)
        push(CLUSTER, 400)
        restart(*CLUSTER.nodes)
        broken = status()
        assert not broken["healthy"]
        assert any("has expired" in problem for problem in broken["problems"])
        run = deployed()
        healthy = wait_healthy(120)
        assert deployed().changes == []
        kept = json.loads(kubectl("-n", namespace, "get", "configmap", "kept", "-o", "json"))["data"]
        assert kept == {"key": "value"}
        for node in CLUSTER.nodes:
            wait_until(partial(containers, host_of(node), "kube-system", namespace), 120, f"pods run on {node.name}")
        row.seen = (
            f"{len(broken['problems'])} problems before; {len(run.changes)} changes, healthy {healthy:.0f} s later"
        )
