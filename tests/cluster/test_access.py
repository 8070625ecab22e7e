"""Users' kubectl commands on the cluster, and the identities that the API accepts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request

import pytest

from tests.lab_cluster import STATE, wait_until


def test_all_nodes_are_ready_with_their_roles(kubectl, cluster) -> None:
    nodes = {node["metadata"]["name"]: node for node in json.loads(kubectl("get", "nodes", "-o", "json"))["items"]}
    labels = {"masters": "node-role.kubernetes.io/control-plane", "minions": "node-role.kubernetes.io/minion"}
    for node in cluster.nodes:
        seen = nodes[node.name]
        conditions = {entry["type"]: entry["status"] for entry in seen["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        assert seen["status"]["nodeInfo"]["kubeletVersion"] == cluster.kubernetes_version
        for role, label in labels.items():
            assert (label in seen["metadata"]["labels"]) == (role in node.roles)


def test_masters_take_no_ordinary_pods(kubectl, master) -> None:
    taints = json.loads(kubectl("get", "node", master.name, "-o", "json"))["spec"].get("taints", [])
    wanted = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    assert (wanted in taints) == ("minions" not in master.roles)


def test_logs_of_a_pod_on_each_node_are_read(kubectl, namespace, servers) -> None:
    for pod in servers.values():
        assert "listening" in kubectl("-n", namespace, "logs", pod)


def test_commands_are_executed_in_a_pod_on_each_node(kubectl, namespace, servers) -> None:
    for node, pod in servers.items():
        output = kubectl("-n", namespace, "exec", pod, "--", "python3", "-c", "import os; print(os.environ['NODE'])")
        assert output.strip() == node


@pytest.fixture
def background():
    """Yield a function that starts kubectl and returns its first line; the end of the test stops kubectl."""
    running = []

    def start(*arguments: str) -> str:
        process = subprocess.Popen(
            ["kubectl", *arguments],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "KUBECONFIG": str(STATE / "admin.conf")},
        )  # fmt: skip
        running.append(process)
        assert process.stdout is not None
        return process.stdout.readline()

    yield start
    for process in running:
        process.terminate()
        process.wait()


def fetch(url: str) -> str:
    return urllib.request.urlopen(url, timeout=30).read().decode()


def test_a_port_is_forwarded_to_a_pod_on_each_node(namespace, servers, background) -> None:
    for node, pod in servers.items():
        line = background("-n", namespace, "port-forward", f"pod/{pod}", ":8080")
        port = re.search(r"127\.0\.0\.1:(\d+)", line)[1]
        assert fetch(f"http://127.0.0.1:{port}") == node


def test_a_service_is_reached_through_the_proxy(namespace, servers, background) -> None:
    port = re.search(r"127\.0\.0\.1:(\d+)", background("proxy", "--port=0"))[1]
    assert fetch(f"http://127.0.0.1:{port}/api/v1/namespaces/{namespace}/services/web:80/proxy/") in servers


def test_usage_of_every_node_is_measured(cluster) -> None:
    def measured() -> bool:
        listing = subprocess.run(
            ["kubectl", "top", "nodes", "--no-headers"],
            capture_output=True, text=True, check=False, env={**os.environ, "KUBECONFIG": str(STATE / "admin.conf")},
        ).stdout  # fmt: skip
        return {line.split()[0] for line in listing.splitlines()} >= {node.name for node in cluster.nodes}

    wait_until(measured, 120, "kubectl top nodes lists every node")


ASK = """
import os, ssl, sys, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
token = open(f"{folder}/token").read() if sys.argv[1] == "token" else "not-a-token"
server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
request = urllib.request.Request(f"{server}/api", headers={"Authorization": f"Bearer {token}"})
try:
    print(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=f"{folder}/ca.crt")).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def test_a_pods_token_is_accepted_and_an_invented_one_is_refused(kubectl, namespace, servers) -> None:
    pod = next(iter(servers.values()))
    for token, status in (("token", "200"), ("none", "401")):
        assert kubectl("-n", namespace, "exec", pod, "--", "python3", "-c", ASK, token).strip() == status


def test_a_node_without_a_valid_certificate_is_refused(minion, on, cluster) -> None:
    url = f"https://{cluster.masters[0].address}:6443/api/v1/nodes/{minion.name}"
    ask = f"curl -s -o /dev/null -w '%{{http_code}}' --cacert /etc/kubernetes/pki/ca.crt {url}"
    own, foreign = (
        f"--cert {pair}.crt --key {pair}.key"
        for pair in ("/etc/kubernetes/pki/kubelet-client", "/etc/flannel/pki/etcd-client")
    )
    for certificate, status in ((own, "200"), (foreign, "401"), ("", "401")):
        assert on(minion).check_output(f"{ask} {certificate}") == status, certificate
