"""The specs' way to a running cluster: its hosts are those of the inventory it was made from."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from kubekeel.cluster import Cluster, Node
from operations.inventory import cluster_of, open_inventory

PROJECT = Path(__file__).resolve().parents[2]
INVENTORY = Path(os.environ.get("KUBEKEEL_INVENTORY", PROJECT / "inventory.py"))
STATE = Path(os.environ.get("KUBEKEEL_STATE_DIR", PROJECT / "pki"))
CLUSTER = cluster_of(open_inventory(INVENTORY))

Kubectl = Callable[..., str]


def connect(node: Node) -> Host:
    known_hosts = f"-o UserKnownHostsFile={STATE / 'known_hosts'} -o StrictHostKeyChecking=yes"
    return testinfra.get_host(f"ssh://root@{node.address}", ssh_extra_args=known_hosts)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run of a spec for each node of the role that its argument names."""
    groups = {
        "node": CLUSTER.nodes,
        "member": CLUSTER.etcd,
        "master": CLUSTER.masters,
        "minion": CLUSTER.minions,
    }
    for argument, nodes in groups.items():
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, nodes, ids=[node.name for node in nodes])


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return CLUSTER


@pytest.fixture(scope="session")
def on() -> Callable[[Node], Host]:
    """The connection to a node."""
    hosts = {node.name: connect(node) for node in CLUSTER.nodes}
    return lambda node: hosts[node.name]


class KubectlFailed(AssertionError):
    """What kubectl was asked to do failed, for the reason it gave."""


def run_kubectl(*arguments: str, given: str | None = None, kubeconfig: Path | None = None) -> str:
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig or STATE / "admin.conf")}
    done = subprocess.run(
        ["kubectl", *arguments],
        input=given, text=True, capture_output=True, check=False, env=environment, timeout=300,
    )  # fmt: skip
    if done.returncode:
        raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """Runs kubectl as the administrator and returns what it prints; its failure is the test's."""
    return run_kubectl


def wait_until(holds: Callable[[], Any], patience: float, what: str) -> Any:
    """The first true value of `holds`, asked again and again for `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        try:
            value, said = holds(), ""
        except KubectlFailed as failure:
            # The API is away for a moment when it loses the member of etcd that it speaks to.
            value, said = None, f" ({failure})"
        if value:
            return value
        assert time.monotonic() < end, f"not within {patience:g} s: {what}{said}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A namespace of the module's own, gone after it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    run_kubectl("create", "namespace", name)
    yield name
    run_kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def image() -> str:
    """An image that is on every minion and has a Python: the dashboard's."""
    look = ("get", "deployment", "dashboard", "-o", "json")
    deployment = json.loads(run_kubectl("-n", "kube-system", *look))
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


SERVER = """
import http.server, os, socket
class Name(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["NODE"].encode())
    def log_message(self, *arguments):
        print("served", self.client_address[0], flush=True)
print("listening", flush=True)
http.server.ThreadingHTTPServer(("", 8080), Name).serve_forever()
"""


@pytest.fixture(scope="module")
def servers(namespace: str, image: str) -> dict[str, str]:
    """A pod on every minion that answers with its node's name, behind the service `web`: node name to pod name."""
    pods = {node.name: f"web-{node.name}" for node in CLUSTER.minions}
    run_kubectl("-n", namespace, "apply", "-f", "-", given="---\n".join(
        [json.dumps(server(pod, node, image)) + "\n" for node, pod in pods.items()] + [json.dumps(_service())]
    ))  # fmt: skip
    run_kubectl("-n", namespace, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=120s")
    return pods


def server(pod: str, node: str, image: str) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": image,
        "command": ["python3", "-c", SERVER],
        "env": [{"name": "NODE", "value": node}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod, "labels": {"app": "web"}},
        "spec": {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0},
    }


def _service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {
            "type": "NodePort",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080}],
        },
    }
