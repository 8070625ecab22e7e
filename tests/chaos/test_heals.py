"""Repairs, by the host or by the next deploy, after another program on a node removed something."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

from kubekeel.cluster import Cluster, Node
from tests.support import deployed, healthy_again, host_of, run_kubectl, settled, status, target_of

UNPIN = "ctr -n k8s.io images label $(ctr -n k8s.io images ls -q | grep /coredns:) io.cri-containerd.pinned="
SNAPSHOTS = "/var/lib/etcd-snapshots/*.db /etc/systemd/system/etcd-snapshot.timer"


@pytest.fixture
def victim(cluster: Cluster) -> Node:
    return cluster.minions[-1]


@pytest.fixture
def host(victim: Node) -> Host:
    return host_of(victim)


def service_answers(host: Host, node: Node) -> bool:
    """Whether the API's service answers clients on this node."""
    address = f"https://{target_of(node).cluster.api_service_address}"
    kubectl = "/opt/kubekeel/bin/kubectl --kubeconfig=/etc/kubernetes/kube-proxy.conf --request-timeout=5s"
    return bool(host.run(f"{kubectl} --server={address} get --raw /livez").rc == 0)


@pytest.mark.parametrize("harm", ["systemctl restart nftables", "nft flush ruleset"])
def test_services_answer_again_after_another_program_deletes_all_rules(victim: Node, host: Host, harm: str) -> None:
    host.check_output(harm)
    assert "kube-proxy" not in host.check_output("nft list tables")
    for unit in ("flanneld", "kube-proxy"):
        healthy_again(victim, unit)
    assert service_answers(host, victim)


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    "harm",
    [
        "ip link delete flannel.1",
        "ip link set flannel.1 down && ip link set flannel.1 up",
        "ip route flush dev flannel.1",
        "ip link delete cni0",
    ],
)
def test_devices_and_routes_of_pods_return_after_another_program_deletes_them(
    kubectl, namespace: str, victim: Node, host: Host, cluster: Cluster, harm: str
) -> None:
    listing = json.loads(kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
    address = {pod["spec"]["nodeName"]: pod["status"]["podIP"] for pod in listing}
    other = next(minion for minion in cluster.minions if minion != victim)
    host.check_output(harm)
    healthy_again(victim, "flanneld")
    fetch = "curl --silent --show-error --retry 20 --retry-delay 1 --retry-all-errors --max-time 5 http://{}:8080"
    # Both directions: from each node to a pod of the other node.
    assert host.check_output(fetch.format(address[other.name])) == other.name
    assert host_of(other).check_output(fetch.format(address[victim.name])) == victim.name


def test_one_deploy_restores_a_deleted_node_a_pin_and_a_timer(kubectl, victim: Node, host: Host) -> None:
    kubectl("delete", "node", victim.name)
    host.check_output(f"PATH=$PATH:/opt/kubekeel/bin; {UNPIN}; systemctl stop etcd-snapshot.timer")
    problems = [problem for problem in status()["problems"] if problem.startswith(victim.name)]
    for part in ("kubelet", "images", "snapshot timer"):
        assert any(part in problem for problem in problems), problems
    assert f"nodes | update files on {victim.name}" in deployed().changes
    labels = json.loads(run_kubectl("get", "node", victim.name, "-o", "json"))["metadata"]["labels"]
    assert labels.items() >= {**victim.labels, "node-role.kubernetes.io/minion": ""}.items()
    settled()


LOST = "/var/lib/kubelet/config.yaml /etc/crictl.yaml /opt/kubekeel/bin/crictl /opt/kubekeel/bin/ctr"


def test_one_deploy_restores_lost_files_of_running_nodes(cluster: Cluster) -> None:
    nodes = [cluster.masters[0], cluster.minions[0]]
    for node in nodes:
        host_of(node).check_output(f"rm {LOST}")
    changes = deployed().changes
    for node in nodes:
        assert f"nodes | restore missing files on {node.name}" in changes
        host_of(node).check_output(f"ls {LOST}")
        # The deploy started no unit while its files were missing.
        assert host_of(node).check_output("systemctl show -p NRestarts --value kubelet") == "0"
    settled()


def test_a_member_without_a_recent_snapshot_is_a_problem(victim: Node, host: Host) -> None:
    def reported() -> bool:
        return any(f"{victim.name}: etcd has no snapshot of the last 24 h" in each for each in status()["problems"])

    host.check_output(f"systemctl start etcd-snapshot && touch -d '60 days ago' {SNAPSHOTS}")
    try:
        assert reported()
    finally:
        host.check_output(f"touch {SNAPSHOTS}")
    assert not reported()
