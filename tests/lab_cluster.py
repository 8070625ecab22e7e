"""The lab's cluster: its inventory, connections to its hosts, and kubectl as its administrator."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import testinfra
from testinfra.host import Host

from kubekeel.cluster import Cluster, Node
from lab.lab import Lab
from run.inventory import described, open_inventory

LAB = Lab.here()
INVENTORY = LAB.inventory
STATE = LAB.state_directory


@cache
def the_cluster() -> Cluster:
    """Return the cluster that the lab's inventory describes.

    Collecting tests calls it, so it reads nothing else. Raises LabError if there is no lab.
    """
    LAB.shape  # noqa: B018 - raises LabError if there is no lab
    return described(open_inventory(INVENTORY))


def connect(node: Node) -> Host:
    known_hosts = f"-o UserKnownHostsFile={STATE / 'known_hosts'} -o StrictHostKeyChecking=yes"
    return testinfra.get_host(f"ssh://root@{node.address}", ssh_extra_args=known_hosts)


class KubectlFailed(AssertionError):
    """A kubectl command that failed, with its output."""


def run_kubectl(*arguments: str, given: str | None = None, kubeconfig: Path | None = None) -> str:
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig or STATE / "admin.conf")}
    done = subprocess.run(
        ["kubectl", *arguments],
        input=given, text=True, capture_output=True, check=False, env=environment, timeout=300,
    )  # fmt: skip
    if done.returncode:
        raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def image_with_python() -> str:
    """Return an image that every minion has and that contains Python: the dashboard's."""
    deployment = json.loads(run_kubectl("-n", "kube-system", "get", "deployment", "dashboard", "-o", "json"))
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


@contextmanager
def new_namespace() -> Iterator[str]:
    """Yield a namespace that pods can use, and delete it afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    run_kubectl("create", "namespace", name)
    # Pods need it. After a restart of the API server, the controller that makes it may still be about to lead.
    run_kubectl("-n", name, "wait", "serviceaccount/default", "--for=create", "--timeout=60s")
    yield name
    run_kubectl("delete", "namespace", name, "--wait=false")


def wait_until(holds: Callable[[], Any], patience: float, what: str) -> Any:
    """Return the first true value of `holds`, which is called again and again for `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        try:
            value, reason = holds(), ""
        except KubectlFailed as failure:
            # The API is unreachable for a moment after it loses its member of etcd.
            value, reason = None, f" ({failure})"
        if value:
            return value
        assert time.monotonic() < end, f"not within {patience:g} s: {what}{reason}"
        time.sleep(0.5)


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


def service() -> dict[str, Any]:
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


def deployment(image: str) -> dict:
    """Return a deployment whose pod leaves an unreachable node after 30 seconds; Kubernetes' default is 300."""
    container = {"name": "sleeper", "image": image, "command": ["python3", "-c", "import time; time.sleep(10**6)"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "sleeper"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "sleeper"}},
            "template": {
                "metadata": {"labels": {"app": "sleeper"}},
                "spec": {
                    "containers": [container],
                    "terminationGracePeriodSeconds": 0,
                    "tolerations": [
                        {"key": f"node.kubernetes.io/{condition}", "effect": "NoExecute", "tolerationSeconds": 30}
                        | {"operator": "Exists"}
                        for condition in ("not-ready", "unreachable")
                    ],
                },
            },
        },
    }


def status_of(
    address: str, port: int, certificate: str, key: str, method: str = "GET", path: str = "/", body: object = None
) -> int:
    """Return the HTTP status for a client with this certificate; 401 if the server ends the handshake."""
    # An attacker need not verify the server.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(certificate, key)
    connection = HTTPSConnection(address, port, context=context, timeout=30)
    content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": content_type})
        return connection.getresponse().status
    except (ssl.SSLError, ConnectionError):
        return 401
    finally:
        connection.close()
