"""Users of a cluster in a lab of a test's own: requests to the API and to a service, writes, and a pod with a token.

`python -m tests.chaos.traffic FOLDER` uses the cluster of the lab in which it runs, until FOLDER has a file `end`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from kubekeel.cluster import Node
from tests.chaos.machines import serve
from tests.lab_cluster import STATE, image_with_python, run_kubectl, wait_until
from tests.lab_command import Command
from tests.support import CLUSTER, Traffic, client, fetching, ssh_to, writing

NAMESPACE = "traffic"

# It reads its token and authorities for each request, as Kubernetes' own clients do within a minute.
_POD = """
import ssl, time, urllib.error, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
while True:
    headers = {"Authorization": "Bearer " + open(folder + "token").read()}
    request = urllib.request.Request("https://kubernetes.default.svc/api", headers=headers)
    try:
        context = ssl.create_default_context(cafile=folder + "ca.crt")
        urllib.request.urlopen(request, context=context, timeout=5).close()
        print("answered", flush=True)
    except OSError as fault:
        print(fault, flush=True)
    time.sleep(0.5)
"""


@dataclass
class Seen:
    """What users saw: the number of good answers by what was asked, failed requests, and lost writes.

    A request that failed once and succeeded at the second try is in `again`. `refused` holds what a pod heard when its
    token or its authorities were not accepted.
    """

    answers: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{len(self.failed)} of {sum(self.answers.values())} requests failed, {len(self.again)} succeeded at the"
            f" second try; {len(self.lost)} of {self.answers['writes']} writes lost; {len(self.refused)} of"
            f" {self.answers['a pod']} of a pod refused"
        )


@contextmanager
def in_use(lab: Command, folder: Path) -> Iterator[Seen]:
    """Use a lab's cluster until the end of the block, at which the result is complete."""
    seen, started, end = Seen(), folder / "started", folder / "end"
    with ThreadPoolExecutor() as executor:
        users = executor.submit(lab, "run", "--", "python", "-m", __name__, str(folder), patience=4800)
        try:
            wait_until(lambda: started.exists() or users.done(), 300, "the cluster is in use")
            yield seen
        finally:
            end.touch()
        vars(seen).update(json.loads(users.result().stdout.splitlines()[-1]))


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


def _use(folder: Path) -> Seen:
    serve(NAMESPACE)
    run_kubectl("-n", NAMESPACE, "apply", "-f", "-", given=json.dumps(_pod()))
    run_kubectl("-n", NAMESPACE, "wait", "pod", "client", "--for=condition=Ready", "--timeout=180s")
    again: list[str] = []
    with ExitStack() as stack:
        users = {**services(), **balancers(stack, folder, again)}
        traffic = {name: stack.enter_context(each) for name, each in users.items()}
        writes = stack.enter_context(writing(NAMESPACE))
        (folder / "started").touch()
        wait_until((folder / "end").exists, 4800, "the end of the test")
    heard = run_kubectl("-n", NAMESPACE, "logs", "client").splitlines()
    return Seen(
        answers={name: len(each.good) for name, each in traffic.items()}
        | {"writes": len(writes.good), "a pod": heard.count("answered")},
        failed=[f"{name}: {fault}" for name, each in traffic.items() for fault in each.bad.values()],
        again=again,
        lost=sorted(writes.lost()),
        refused=[line for line in heard if "HTTP Error" in line or "CERTIFICATE" in line],
    )


def services() -> dict[str, Traffic]:
    """Return ten requests per second to the service of `serve` at each node."""
    return {f"service at {node.name}": fetching(f"http://{node.address}:30080") for node in CLUSTER.nodes}


def balancers(stack: ExitStack, folder: Path, again: list[str]) -> dict[str, Traffic]:
    """Return ten requests per second of each kubelet to the API by its node's balancer.

    `again` gets the faults of first tries that succeeded at the second one. The folder gets sockets.
    """
    return {
        f"balancer of {node.name}": _asking_as_kubelet(
            node, stack.enter_context(_balancer(node, folder / f"{node.name}.sock")), again
        )
        for node in CLUSTER.nodes
    }


def _asking_as_kubelet(node: Node, balancer: Path, again: list[str]) -> Traffic:
    """Return requests for a Node, each over its own connection, and once more a second later, if that fails.

    client-go does so, too (retryAfterResponse in its rest/with_retry.go). `again` gets the faults of first tries: an
    API server that ends closes connections that it has not served yet, and a balancer that restarts accepts none.
    """

    def ask(_: int) -> None:
        with client(STATE / "nodes" / node.name / "kubelet-client", balancer) as session:
            session.get(f"/api/v1/nodes/{node.name}").raise_for_status()

    def ask_twice(number: int) -> None:
        try:
            ask(number)
        except httpx.HTTPError as first:
            time.sleep(1)
            ask(number)
            again.append(f"{type(first).__name__}: {first}")

    return Traffic(ask_twice, pause=0.1)


@contextmanager
def _balancer(node: Node, socket: Path) -> Iterator[Path]:
    """Yield a Unix socket that leads to the balancer of a node, which listens on the node's loopback only."""
    tunnel = subprocess.Popen(ssh_to(node, "-N", "-L", f"{socket}:127.0.0.1:7443"), stdin=subprocess.DEVNULL)
    try:
        wait_until(socket.exists, 60, f"a tunnel to {node.name}")
        yield socket
    finally:
        tunnel.terminate()
        tunnel.wait()
        socket.unlink(missing_ok=True)


def _pod() -> dict[str, Any]:
    container = {"name": "client", "image": image_with_python(), "command": ["python3", "-c", _POD]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client"},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


if __name__ == "__main__":
    print(json.dumps(asdict(_use(Path(sys.argv[1])))))
