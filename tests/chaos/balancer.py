"""Requests to the API through a node's balancer, and restarts of pods, in a lab of a test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.lab_command import Command

# Each request uses a new connection. A certificate and its key may not match: a deploy replaces them one by one.
_PROBES = """
kubectl="/opt/kubekeel/bin/kubectl --kubeconfig=/etc/kubernetes/kubelet.conf get --raw /api/v1/nodes/$(hostname)"
requests=0
until [ -e /run/probes-end ]; do
  output=$($kubectl 2>&1) || case $output in
  *"does not match"*) ;;
  *) echo "failed $output" ;;
  esac
  requests=$((requests + 1))
  sleep 0.2
done
rm /run/probes-end
echo "requests $requests"
"""


@dataclass
class Probes:
    """The number of requests, and the output of failed ones; complete at the end of `probing`."""

    requests: int = 0
    failed: list[str] = field(default_factory=list)


@contextmanager
def probing(lab: Command, node: str) -> Iterator[Probes]:
    """Send a few requests a second as a node's kubelet, until the end of the block."""
    probes = Probes()
    with ThreadPoolExecutor() as executor:
        running = executor.submit(lab, "shell", node, "--", "sh", "-c", _PROBES, patience=4800)
        try:
            yield probes
        finally:
            lab("shell", node, "--", "touch", "/run/probes-end")
        *probes.failed, requests = running.result().stdout.splitlines()
        probes.requests = int(requests.removeprefix("requests "))


def restarts(lab: Command) -> dict[str, int]:
    """Return how often containers restarted, by the pod's name and UID; without static pods."""
    pods = json.loads(lab("kubectl", "get", "pods", "-A", "-o", "json").stdout)["items"]
    return {
        f"{pod['metadata']['name']} {pod['metadata']['uid']}": sum(
            container["restartCount"] for container in pod["status"].get("containerStatuses", ())
        )
        for pod in pods
        if "kubernetes.io/config.mirror" not in pod["metadata"].get("annotations", {})
    }
