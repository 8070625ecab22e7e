"""Units, ports and files of each node."""

from __future__ import annotations

import re

UNITS = {
    "etcd": {"etcd"},
    "masters": {"flanneld", "containerd", "api-balancer", "kubelet", "kube-proxy", "kubekeel-heal"},
    "minions": {"flanneld", "containerd", "api-balancer", "kubelet", "kube-proxy", "kubekeel-heal"},
}
PORTS = {
    "etcd": {"{address}:2379", "127.0.0.1:2379", "{address}:2380", "127.0.0.1:2381"},
    "masters": {"*:6443", "127.0.0.1:10257", "127.0.0.1:10259"},
    "minions": {"127.0.0.1:7443", "*:10250", "127.0.0.1:10248", "127.0.0.1:10249", "*:10256"},
}
OWNED_BY_ROOT = {
    "etcd": {"/etc/etcd/etcd.conf", "/etc/etcd/pki/root.key", "/etc/systemd/system/etcd.service"},
    "masters": {
        *(f"/etc/kubernetes/manifests/kube-{pod}.yaml" for pod in ("apiserver", "controller-manager", "scheduler")),
        "/etc/kubernetes/admin.conf",
        *(f"/etc/kubernetes/kube-{pod}/kubeconfig" for pod in ("controller-manager", "scheduler")),
        "/etc/kubernetes/kube-controller-manager/sa.key",
        "/etc/kubernetes/encryption-config.yaml",
        "/etc/kubernetes/pki/sa.key",
        "/etc/kubernetes/pki/apiserver.key",
    },
    "minions": {
        "/etc/kubernetes/kubelet.conf",
        "/etc/kubernetes/kube-proxy.conf",
        "/etc/kubernetes/pki/kubelet-client.key",
        "/etc/kubernetes/pki/kubelet-server.key",
        "/etc/flannel/pki/etcd-client.key",
        "/etc/cni/net.d/10-flannel.conflist",
        "/etc/systemd/system/kubelet.service",
        "/var/lib/kubelet/config.yaml",
        "/var/lib/kube-proxy/config.yaml",
    },
}


def of_roles(table, node):
    return set().union(*(table[role] for role in node.roles))


def test_every_unit_runs_and_starts_with_the_machine(node, on) -> None:
    for unit in of_roles(UNITS, node):
        service = on(node).service(unit)
        assert service.is_running, unit
        assert service.is_enabled, unit


def test_every_server_listens_on_its_address_and_port(node, on) -> None:
    listening = set(on(node).check_output("ss -Hltn | awk '{print $4}'").split())
    listening = {re.sub(r"^(0\.0\.0\.0|\[::\])", "*", port) for port in listening}
    assert {port.format(address=node.address) for port in of_roles(PORTS, node)} <= listening


def test_only_expected_ports_are_reachable_from_outside(node, on) -> None:
    listening = set(on(node).check_output("ss -Hltn | awk '{print $4}'").split())
    outside = {port.rpartition(":")[2] for port in listening if not re.match(r"127\.|\[::1\]", port)}
    expected = {"22", "10250", "10256", "2379", "2380", "6443"}
    assert {port for port in outside if int(port) < 30000} <= expected


def test_only_root_can_read_secrets_and_configurations(node, on) -> None:
    paths = sorted(of_roles(OWNED_BY_ROOT, node))
    seen = on(node).check_output(f"stat -c '%n %a %U:%G' {' '.join(paths)}")
    assert seen.splitlines() == [f"{path} 600 root:root" for path in paths]


def test_only_etcds_user_can_read_etcds_data_and_keys(member, on) -> None:
    seen = on(member).check_output(
        "stat -c '%n %a %U:%G' /var/lib/etcd /etc/etcd/pki/server.key /etc/etcd/pki/peer.key"
    )
    assert seen.splitlines() == [
        "/var/lib/etcd 700 etcd:etcd",
        "/etc/etcd/pki/server.key 600 etcd:etcd",
        "/etc/etcd/pki/peer.key 600 etcd:etcd",
    ]


def test_no_key_is_readable_by_other_users(node, on) -> None:
    assert on(node).check_output("find /etc/kubernetes /etc/etcd /etc/flannel -name '*.key' -perm /077") == ""


def test_the_static_pods_run(master, on) -> None:
    running = on(master).check_output(
        'crictl ps --state running -o json | grep -o \'"io.kubernetes.container.name": "[^"]*\''
    )
    names = {line.rpartition('"')[2] for line in running.splitlines()}
    assert {"kube-apiserver", "kube-controller-manager", "kube-scheduler"} <= names


def test_binaries_match_the_digests_that_name_their_folders(node, on) -> None:
    listing = on(node).check_output("cd /opt/kubekeel/store && sha256sum */*")
    for line in listing.splitlines():
        digest, path = line.split()
        assert path.startswith(f"{digest}/")
