"""Requests to the API by way of a node's balancer, while something is done to the cluster of a lab of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.lab_command import Command

# Each request is over a connection of its own. A pair is replaced file by file.
_PROBES = """
kubectl="/opt/kubekeel/bin/kubectl --kubeconfig=/etc/kubernetes/kubelet.conf get --raw /api/v1/nodes/$(hostname)"
asked=0
until [ -e /run/probes-end ]; do
  said=$($kubectl 2>&1) || case $said in
  *"does not match"*) ;;
  *) echo "failed $said" ;;
  esac
  asked=$((asked + 1))
  sleep 0.2
done
rm /run/probes-end
echo "asked $asked"
"""


@dataclass
class Probes:
    """What came of requests, once they have ended."""

    asked: int = 0
    failed: list[str] = field(default_factory=list)


@contextmanager
def probing(lab: Command, node: str) -> Iterator[Probes]:
    """A few requests a second as a node's kubelet, until the end of the block."""
    probes = Probes()
    with ThreadPoolExecutor() as other:
        running = other.submit(lab, "shell", node, "--", "sh", "-c", _PROBES, patience=4800)
        try:
            yield probes
        finally:
            lab("shell", node, "--", "touch", "/run/probes-end")
        *probes.failed, asked = running.result().stdout.splitlines()
        probes.asked = int(asked.removeprefix("asked "))


def restarts(lab: Command) -> dict[str, int]:
    """Of each pod that is no static one the restarts of its containers, by its name and uid."""
    found = json.loads(lab("kubectl", "get", "pods", "-A", "-o", "json").stdout)["items"]
    return {
        f"{pod['metadata']['name']} {pod['metadata']['uid']}": sum(
            each["restartCount"] for each in pod["status"].get("containerStatuses", ())
        )
        for pod in found
        if "kubernetes.io/config.mirror" not in pod["metadata"].get("annotations", {})
    }
