"""Harm that a cluster survives, in tests of a few minutes; tests/chaos has longer and more destructive ones."""

from __future__ import annotations

import json
import time

import pytest

from kubekeel.needs import STATIC_PODS
from tests.support import (
    SLACK,
    Deploy,
    age_leaves,
    arrived,
    certificates,
    deployed,
    fetching,
    half_written,
    harm,
    host_of,
    kill_pod,
    kill_unit,
    leader,
    packed_for,
    probing,
    push,
    running_since,
    settled,
    status,
    wait_healthy,
    writing,
)


@pytest.mark.parametrize("pod", STATIC_PODS)
@pytest.mark.usefixtures("servers")
def test_a_killed_static_pod_serves_again_without_failed_requests_of_users(kubectl, cluster, namespace, pod) -> None:
    node = cluster.masters[0]
    port = json.loads(kubectl("-n", namespace, "get", "service", "web", "-o", "json"))["spec"]["ports"][0]["nodePort"]
    limit = 60 if pod == "kube-apiserver" else 30
    with (
        harm(f"SIGKILL of {pod} on {node.name}", f"serves in {limit} s, no request of users fails") as row,
        fetching(f"http://{cluster.minions[0].address}:{port}") as traffic,
    ):
        serves = kill_pod(node, pod)
        row.seen = f"serves in {serves:.0f} s, {len(traffic.bad)} of {len(traffic.good)} requests failed"
        assert serves <= limit * SLACK
        assert not traffic.bad


def test_an_api_server_ends_by_itself_when_kubelet_stops_it(cluster) -> None:
    host = host_of(cluster.masters[0])
    container = host.check_output("crictl ps --quiet --name '^kube-apiserver$'")
    with harm("kubelet stops the API server", "it ends without SIGKILL") as row:
        # kubelet's patience is 30 s.
        host.check_output(f"crictl stop --timeout 25 {container}")
        status = json.loads(host.check_output(f"crictl inspect {container}"))["status"]["exitCode"]
        row.seen = f"exit status {status}"
        assert status == 0
    wait_healthy(180)


def test_no_acknowledged_write_is_lost_when_the_leader_of_etcd_is_killed(namespace) -> None:
    with harm("SIGKILL of etcd's leader under writes", "no acknowledged write lost, writes pause 10 s at most") as row:
        with writing(namespace) as writes:
            kill_unit(host_of(leader()), "etcd")
            time.sleep(10)
        row.seen = f"0 of {len(writes.good)} lost, the longest pause {writes.gap:.1f} s"
        assert writes.lost() == set()
        assert writes.gap <= 10 * SLACK


def test_the_next_deploy_finishes_one_that_was_interrupted_in_a_transfer(cluster) -> None:
    node = cluster.minions[-1]
    host, before, crictl = host_of(node), certificates(), packed_for(node, "crictl")
    with harm(
        "SIGKILL of a deploy at half of a transfer", "the next run ends well, the one after changes nothing"
    ) as row:
        host.check_output("rm /opt/kubekeel/store/*/crictl")
        with Deploy() as interrupted:
            assert interrupted.reached("node | install binaries"), interrupted.lines
            assert interrupted.pause_when(lambda: arrived(node, crictl) >= 0.5), interrupted.lines
        assert half_written(host, "crictl") == []
        settled()
        assert certificates() == before
        row.seen = "as expected; no certificate changed"


def test_one_run_renews_all_leaves_without_failed_probes_and_restarts_only_flanneld(cluster) -> None:
    expected = "one run renews all, flanneld alone restarts, 0 failed probes at 5/s"
    with harm("every leaf within its last 25 days", expected) as row:
        age_leaves(340)
        push(cluster, 340)
        assert all(each["days_left"] < 30 for node in status()["nodes"] for each in node["certificates"]
                   if not each["path"].endswith("ca.crt"))  # fmt: skip
        before = running_since(cluster)
        with probing() as probes:
            deployed()
            time.sleep(15)
        found = status()
        days = min(each["days_left"] for node in found["nodes"] for each in node["certificates"])
        row.seen = f"{days} days left, {len(probes.bad)} of {len(probes.good)} probes failed"
        assert days >= 364
        after = running_since(cluster)
        restarted = {process for process, start in before.items() if after.get(process) != start}
        assert restarted == {f"flanneld on {node.name}" for node in cluster.nodes}
        assert after.keys() == before.keys()
        assert not probes.bad
        assert found["problems"] == []
