"""The specs' fixtures: they connect to the lab's cluster when first used, never while pytest collects tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from testinfra.host import Host

from kubekeel.cluster import Cluster, Node
from run.inventory import cluster_of, open_inventory
from tests.lab_cluster import (
    INVENTORY,
    connect,
    image_with_python,
    new_namespace,
    run_kubectl,
    server,
    service,
    the_cluster,
)

Kubectl = Callable[..., str]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a spec once for each node of the role that its argument names."""
    roles = {"node": "nodes", "member": "etcd", "master": "masters", "minion": "minions"}
    for argument, role in roles.items():
        if argument in metafunc.fixturenames:
            nodes = getattr(the_cluster(), role)
            metafunc.parametrize(argument, nodes, ids=[node.name for node in nodes])


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Return the deployed cluster, with the chosen source of its artifacts."""
    return cluster_of(open_inventory(INVENTORY))


@pytest.fixture(scope="session")
def on(cluster: Cluster) -> Callable[[Node], Host]:
    """Return a function that returns the connection to a node."""
    hosts = {node.name: connect(node) for node in cluster.nodes}
    return lambda node: hosts[node.name]


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """Return a function that runs kubectl as the administrator and returns its output, or raises KubectlFailed."""
    return run_kubectl


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """Yield a namespace for this module alone, and delete it afterwards."""
    with new_namespace() as name:
        yield name


@pytest.fixture(scope="session")
def image() -> str:
    """Return what `image_with_python` does, once a session."""
    return image_with_python()


@pytest.fixture(scope="module")
def servers(cluster: Cluster, namespace: str, image: str) -> dict[str, str]:
    """Start a pod on every minion behind the service `web`, and return the pods' names by node name.

    Each pod answers with the name of its node.
    """
    pods = {node.name: f"web-{node.name}" for node in cluster.minions}
    run_kubectl("-n", namespace, "apply", "-f", "-", given="---\n".join(
        [json.dumps(server(pod, node, image)) + "\n" for node, pod in pods.items()] + [json.dumps(service())]
    ))  # fmt: skip
    run_kubectl("-n", namespace, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=120s")
    return pods
