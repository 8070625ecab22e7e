"""etcd: its members, and the rights of its clients."""

from __future__ import annotations

import json
import ssl
from http.client import HTTPSConnection

import pytest

from kubekeel.cluster import Node
from tests.lab_cluster import STATE

CTL = "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/pki/ca.crt"
ROOT = f"{CTL} --cert=/etc/etcd/pki/root.crt --key=/etc/etcd/pki/root.key"
FLANNEL = f"{CTL} --cert=/etc/flannel/pki/etcd-client.crt --key=/etc/flannel/pki/etcd-client.key"
KUBELET = f"{CTL} --cert=/etc/kubernetes/pki/kubelet-client.crt --key=/etc/kubernetes/pki/kubelet-client.key"


def test_each_member_is_healthy_and_sees_all_the_others(member, on, cluster) -> None:
    host = on(member)
    assert json.loads(host.check_output(f"{ROOT} endpoint health -w json"))[0]["health"] is True
    members = json.loads(host.check_output(f"{ROOT} member list -w json"))["members"]
    assert {entry["name"]: entry["clientURLs"] for entry in members} == {
        node.name: [f"https://{node.address}:2379"] for node in cluster.etcd
    }


def test_flannel_has_a_lease_for_each_node_within_the_pod_network(member, on, cluster) -> None:
    keys = on(member).check_output(f"{FLANNEL} get --prefix --keys-only /coreos.com/network/subnets/").split()
    values = (
        on(member).check_output(f"{FLANNEL} get --prefix --print-value-only /coreos.com/network/subnets/").split("\n")
    )
    leases = [json.loads(value) for value in values if value]
    assert {lease["PublicIP"] for lease in leases} >= {
        node.address for node in cluster.nodes if node.roles & {"masters", "minions"}
    }
    assert len(keys) == len(leases)


def test_flannel_reads_its_configuration_and_leases_and_does_nothing_else(member, on) -> None:
    host = on(member)
    for attempt in (
        "get --prefix /registry/",
        "put /registry/x y",
        "get --prefix /",
        "del --prefix /",
        "put /coreos.com/other y",
        "put /coreos.com/network/config y",
        "del /coreos.com/network/config",
        "get --prefix /coreos.com/network/",
        "put /coreos.com/network/other y",
        "put /coreos.com/network/subnets/10.244.250.0-24 y",
        "del --prefix /coreos.com/network/subnets/",
        "get /kubekeel/access",
        "user list",
        "snapshot save /dev/null",
    ):
        refused = host.run(f"{FLANNEL} {attempt}")
        assert refused.rc != 0, attempt
        assert "permission denied" in refused.stderr, attempt


def test_etcd_refuses_clients_without_a_certificate_of_its_authority(member, on) -> None:
    host = on(member)
    assert host.run(f"{CTL} get /").rc != 0
    assert host.run(f"{KUBELET} get /").rc != 0


def peer_port_status(member: Node, pair: str, method: str, path: str) -> int:
    """Return the HTTP status of the member's peer port for a client with one of the member's certificates."""
    context = ssl.create_default_context(cafile=str(STATE / "etcd-ca.crt"))
    base = STATE / "nodes" / member.name / pair
    context.load_cert_chain(f"{base}.crt", f"{base}.key")
    connection = HTTPSConnection(member.address, 2380, context=context, timeout=30)
    connection.request(method, path, body=b"x" if method == "POST" else None)
    return connection.getresponse().status


@pytest.mark.parametrize("pair", ["flannel-etcd-client", "etcd-root", "etcd-server"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/members"), ("POST", "/raft")])
def test_the_peer_port_accepts_only_certificates_of_members(member, pair, method, path) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        peer_port_status(member, pair, method, path)


def test_a_secret_is_encrypted_in_etcd(cluster, on, kubectl, namespace) -> None:
    kubectl("-n", namespace, "create", "secret", "generic", "s", "--from-literal=password=hunter2")
    raw = on(cluster.etcd[0]).check_output(
        f"{ROOT} get --print-value-only /registry/secrets/{namespace}/s | head -c 200 | tr -cd '[:print:]'"
    )
    assert raw.startswith("k8s:enc:secretbox:v1:")
    assert "hunter2" not in raw
