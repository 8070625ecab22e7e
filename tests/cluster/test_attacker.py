"""Attempts of an attacker who controls one machine or one pod: each row is an attempt, and the cluster refuses all.

The machine is the last minion. The attempts do not use its keys as a member of etcd; docs/security.md says what an
attacker could do with those.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from kubekeel.cluster import Cluster, Node
from operations.etcd import ETCDCTL
from tests.lab_cluster import STATE, status_of

REFUSED = frozenset({401, 403})
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "mine"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}],
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "mine"},
    "spec": {"nodeName": "{other}", "containers": [{"name": "mine", "image": "kubekeel.local/pause:v1.0.0"}]},
}
LABELS = {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}

# Attempts: the minion's certificate, the method and path at a master's API, and the body.
API = {
    "as the node, it reads all secrets": ("kubelet-client", "GET", "/api/v1/secrets", None),
    "as the node, it reads the tokens of another namespace": (
        *("kubelet-client", "GET", "/api/v1/namespaces/kube-system/secrets"),
        None,
    ),
    "as the node, it binds everyone to cluster-admin": (
        *("kubelet-client", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
        BINDING,
    ),
    "as the node, it runs a pod on another node": (
        *("kubelet-client", "POST", "/api/v1/namespaces/default/pods"),
        POD,
    ),
    "as the node, it changes another node": ("kubelet-client", "PATCH", "/api/v1/nodes/{other}", LABELS),
    "as the node, it calls itself a master": ("kubelet-client", "PATCH", "/api/v1/nodes/{own}", LABELS),
    "as the node, it requests a token of a service account that none of its pods uses": (
        *("kubelet-client", "POST", "/api/v1/namespaces/kube-system/serviceaccounts/coredns/token"),
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}},
    ),
    "as kube-proxy, it reads all secrets": ("kube-proxy", "GET", "/api/v1/secrets", None),
    "as kube-proxy, it changes a service's endpoints": (
        *("kube-proxy", "DELETE", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"),
        None,
    ),
    "with the kubelet's serving certificate, it asks the API": ("kubelet-server", "GET", "/api/v1/nodes", None),
    "with flannel's certificate, it asks the API": ("flannel-etcd-client", "GET", "/api/v1/nodes", None),
}


@pytest.fixture(scope="module")
def captured(cluster: Cluster) -> Node:
    return cluster.minions[-1]


def answer(node: Node, pair: str, port: int, of: Node, method: str, path: str, body: object = None) -> int:
    """Return the HTTP status of `node` for a client with a certificate of `of`; 401 if it ends the handshake."""
    base = STATE / "nodes" / of.name / pair
    return status_of(node.address, port, f"{base}.crt", f"{base}.key", method, path, body)


@pytest.mark.parametrize("attempt", API)
def test_the_api_refuses_an_attacker_with_a_minions_keys(cluster: Cluster, captured: Node, attempt: str) -> None:
    pair, method, path, body = API[attempt]
    names = {"own": captured.name, "other": cluster.masters[0].name}
    filled = json.loads(json.dumps(body).replace("{other}", names["other"]))
    assert answer(cluster.masters[0], pair, 6443, captured, method, path.format(**names), filled) in REFUSED


def test_the_api_accepts_the_minions_own_identity(cluster: Cluster, captured: Node) -> None:
    path = f"/api/v1/nodes/{captured.name}"
    assert answer(cluster.masters[0], "kubelet-client", 6443, captured, "GET", path) == 200


@pytest.mark.parametrize("pair", ["kubelet-client", "kubelet-server", "kube-proxy", "flannel-etcd-client"])
@pytest.mark.parametrize("path", ["/pods", "/runningpods/", "/configz", "/metrics", "/logs/"])
def test_other_kubelets_refuse_a_minions_keys(cluster: Cluster, captured: Node, pair: str, path: str) -> None:
    for other in cluster.nodes:
        if other != captured:
            assert answer(other, pair, 10250, captured, "GET", path) in REFUSED


@pytest.mark.parametrize("pair", ["kubelet-client", "kubelet-server", "kube-proxy", "flannel-etcd-client"])
def test_members_of_etcd_refuse_a_minions_keys_on_the_peer_port(member: Node, captured: Node, pair: str) -> None:
    assert answer(member, pair, 2380, captured, "GET", "/members") == 401
    assert answer(member, pair, 2380, captured, "POST", "/raft") == 401


ETCD = (
    "get --prefix /registry/secrets/",
    "put /registry/mine x",
    "put /coreos.com/network/config {{}}",
    "member add mine --learner --peer-urls=https://192.0.2.9:2380",
    "member remove 1",
    "user grant-role flannel:{own} root",
    "role grant-permission flannel:{own} readwrite /registry/mine",
    "put {others_lease} {{}}",
    "del {others_lease}",
    "del --prefix /coreos.com/network/subnets",
    "put /coreos.com/network/subnets/10.244.250.0-24 {{}}",
    "get /kubekeel/access",
    "auth disable",
    "snapshot save /run/mine",
    "defrag",
)


@pytest.mark.parametrize("attempt", ETCD)
def test_etcd_refuses_an_attacker_with_flannels_certificate(cluster: Cluster, captured: Node, on, attempt: str) -> None:
    pair = "--cacert=/etc/flannel/pki/etcd-ca.crt --cert=/etc/flannel/pki/etcd-client.crt"
    endpoint = f"--endpoints=https://{cluster.etcd[0].address}:2379"
    etcdctl = f"etcdctl {endpoint} {pair} --key=/etc/flannel/pki/etcd-client.key"
    filled = attempt.format(own=captured.name, others_lease=lease_of(cluster.masters[0], on(captured), etcdctl))
    done = on(captured).run(f"{etcdctl} {filled}")
    assert done.rc != 0
    assert "permission denied" in done.stderr, done.stderr


def test_root_of_a_member_of_etcd_writes_everything_as_documented(member: Node, on) -> None:
    assert on(member).check_output(f"{ETCDCTL} put /registry/attacker x") == "OK"
    assert on(member).check_output(f"{ETCDCTL} del /registry/attacker") == "1"


def lease_of(node: Node, host, etcdctl: str) -> str:
    """Return the key of a node's lease in etcd."""
    listed = host.check_output(f"{etcdctl} get --prefix /coreos.com/network/subnets/").splitlines()
    return next(key for key, value in zip(listed[::2], listed[1::2], strict=True) if f'"{node.address}"' in value)


# It runs in a user's pod, whose service account has no rights.
FROM_A_POD = """
import json, os, socket, ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
headers = {"Authorization": "Bearer " + open("/var/run/secrets/kubernetes.io/serviceaccount/token").read()}
request = urllib.request.Request(sys.argv[1], headers=headers)
try:
    print(urllib.request.urlopen(request, timeout=5, context=context).status)
except urllib.error.HTTPError as refused:
    print(refused.code)
except (urllib.error.URLError, OSError):
    print("closed")
"""
URLS: Mapping[str, str] = {
    "the secrets of its own namespace": "https://10.96.0.1/api/v1/namespaces/{namespace}/secrets",
    "the ConfigMaps of another namespace": "https://10.96.0.1/api/v1/namespaces/kube-system/configmaps",
    "the pods of another namespace": "https://10.96.0.1/api/v1/namespaces/kube-system/pods",
    "the nodes": "https://10.96.0.1/api/v1/nodes",
    "a kubelet's pods": "https://{node}:10250/pods",
    "a kubelet's logs": "https://{node}:10250/logs/",
    "etcd": "https://{node}:2379/v3/kv/range",
    "etcd's port for members": "https://{node}:2380/members",
    "etcd's metrics": "http://{node}:2381/metrics",
    "kube-proxy's metrics": "http://{node}:10249/metrics",
    "kube-proxy's configuration": "http://{node}:10249/configz",
    "the controller manager": "https://{node}:10257/metrics",
    "the scheduler": "https://{node}:10259/metrics",
    "flannel's health": "http://{node}:8471/healthz",
    "metrics-server": "https://metrics-server.kube-system/metrics",
}


@pytest.mark.parametrize("aim", URLS)
def test_a_pod_without_rights_cannot_read(cluster: Cluster, kubectl, namespace, servers, aim: str) -> None:
    pod = next(iter(servers.values()))
    for node in cluster.nodes:
        url = URLS[aim].format(namespace=namespace, node=node.address)
        result = kubectl("-n", namespace, "exec", pod, "--", "python3", "-c", FROM_A_POD, url).strip()
        assert result in ("closed", *map(str, REFUSED)), f"{url}: {result}"
