"""The loss of a node; it runs only if the lab can stop machines."""

from __future__ import annotations

import json

from tests.lab_cluster import deployment, server, wait_until
from tests.support import lab


def test_a_pod_of_a_stopped_node_moves_and_the_node_returns(kubectl, namespace, image, cluster, on) -> None:
    kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(deployment(image)))
    kubectl("-n", namespace, "rollout", "status", "deployment/sleeper", "--timeout=120s")

    def running() -> set[str]:
        pods = json.loads(kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
        return {
            pod["spec"]["nodeName"]
            for pod in pods
            if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
        }

    def ready(name: str) -> bool:
        conditions = json.loads(kubectl("get", "node", name, "-o", "json"))["status"]["conditions"]
        return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)

    (lost,) = running()
    lab("stop", lost)
    try:
        wait_until(lambda: running() - {lost}, 180, f"the pod of {lost} runs elsewhere")
    finally:
        lab("start", lost)
    wait_until(lambda: ready(lost), 180, f"{lost} is Ready again")

    # The pod network must also know the restarted node.
    kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(server("back", lost, image)))
    kubectl("-n", namespace, "wait", "pod/back", "--for=condition=Ready", "--timeout=120s")
    address = json.loads(kubectl("-n", namespace, "get", "pod", "back", "-o", "json"))["status"]["podIP"]
    ask = f"curl -s --max-time 2 http://{address}:8080"
    hosts = [on(node) for node in cluster.nodes]
    wait_until(lambda: all(host.run(ask).stdout == lost for host in hosts), 120, f"all nodes reach the pod on {lost}")
