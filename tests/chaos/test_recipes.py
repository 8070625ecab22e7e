"""The recipes of docs/recipes/ whose images are built here from Go modules, for minutes where the cache is empty."""

from __future__ import annotations

import json
import shutil
import subprocess
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import httpx

from kubekeel.artifacts import toolchain
from kubekeel.artifacts.cache import Cache, default_location
from tests.clones import to_the_internet
from tests.lab_cluster import STATE, run_kubectl, wait_until
from tests.recipes import METALLB, PROMETHEUS, brought, built, cooked, volumes
from tests.support import CLUSTER, deployed

# Load balancers.

METALLB_IMAGES = {name: f"quay.io/metallb/{name}:v0.15.2" for name in ("controller", "speaker")}


def bring_metallb(manifests: Path) -> None:
    """What the page says to download: it is in the Go module, too."""
    go = toolchain.go(Cache(default_location())).command
    module = f"{METALLB.module}@{METALLB.version}"
    found = subprocess.run(
        [*to_the_internet(), go, "mod", "download", "-json", module], check=True, capture_output=True, text=True
    )
    published = Path(json.loads(found.stdout)["Dir"]) / "config/manifests/metallb-native.yaml"
    shutil.copyfile(published, manifests / "20-metallb/metallb-native.yaml")


def test_a_service_answers_at_its_load_balancer_s_address_from_another_machine(
    namespace: str, servers: dict[str, str], tmp_path: Path
) -> None:
    folder, made = tmp_path / "site", tmp_path / "made"
    folder.mkdir()
    made.mkdir()
    archives = built(METALLB, made, METALLB_IMAGES)
    ports = [{"port": 80, "targetPort": 8080}]
    spec = {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": ports}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "public"}, "spec": spec}
    with (
        brought(*METALLB_IMAGES.values()),
        cooked(folder, "load-balancer", prepare=bring_metallb, images=archives) as again,
    ):
        run_kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(service))
        try:
            address = wait_until(lambda: given_address(namespace), 60, "the service has an address")
            assert IPv4Address("192.168.1.251") <= IPv4Address(address) <= IPv4Address("192.168.1.254")
            # This computer is on the machines' network, and is none of the nodes.
            assert wait_until(lambda: answer(address), 60, f"the service answers at {address}") in servers
            assert again() == []
        finally:
            run_kubectl("-n", namespace, "delete", "service", "public")


def given_address(namespace: str) -> str:
    path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    return run_kubectl("-n", namespace, "get", "service", "public", "-o", path).strip()


def answer(address: str) -> str:
    try:
        return httpx.get(f"http://{address}", timeout=5, trust_env=False).raise_for_status().text
    except httpx.TransportError:
        return ""


# Monitoring.

PROMETHEUS_IMAGE = "quay.io/prometheus/prometheus:v3.16.0"


def bring_certificate(manifests: Path) -> None:
    """What the page says to copy, once the setting has it made."""
    deployed("--data", "metrics=true")
    for end in ("crt", "key"):
        shutil.copy(STATE / f"control/metrics.{end}", manifests / f"40-monitoring/tls.{end}")


def test_every_component_that_prometheus_is_to_scrape_is_up(tmp_path: Path) -> None:
    folder, made = tmp_path / "site", tmp_path / "made"
    folder.mkdir()
    made.mkdir()
    archives = built(PROMETHEUS, made, {"prometheus": PROMETHEUS_IMAGE})
    nodes = len(run_kubectl("get", "nodes", "-o", "name").split())
    resolvers = run_kubectl("-n", "kube-system", "get", "deployment", "coredns", "-o", "jsonpath={.spec.replicas}")
    expected = {
        "kube-apiserver": len(CLUSTER.masters),
        "kubelet": nodes,
        "cadvisor": nodes,
        "kube-controller-manager": len(CLUSTER.masters),
        "kube-scheduler": len(CLUSTER.masters),
        "kube-proxy": nodes,
        "etcd": len(CLUSTER.etcd),
        "coredns": int(resolvers),
    }
    with (
        brought(PROMETHEUS_IMAGE),
        volumes(),
        cooked(folder, "storage", "monitoring", prepare=bring_certificate, images=archives, metrics=True) as again,
    ):
        wait_until(lambda: up() == expected, 180, f"up are {expected}")
        assert asked("count(container_memory_working_set_bytes)")
        assert again() == []


def up() -> dict[str, int]:
    return {each["metric"]["job"]: int(each["value"][1]) for each in asked("sum by (job) (up)")}


def asked(query: str) -> list[dict[str, Any]]:
    """What Prometheus answers, by the API server's proxy."""
    path = "/api/v1/namespaces/monitoring/services/prometheus:http/proxy/api/v1/query"
    answered = json.loads(run_kubectl("get", "--raw", f"{path}?{httpx.QueryParams(query=query)}"))
    found: list[dict[str, Any]] = answered["data"]["result"]
    return found
