"""The recipes of docs/recipes/, applied to the lab from the files that users copy: each does what its page promises."""

from __future__ import annotations

import json
import shutil
import subprocess
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from kubekeel.artifacts import toolchain
from kubekeel.artifacts.cache import Cache, default_location
from run.inventory import open_inventory, supply_of
from tests.clones import to_the_internet
from tests.lab_cluster import INVENTORY, STATE, KubectlFailed, run_kubectl, server, wait_until
from tests.recipes import METALLB, PROMETHEUS, RECIPES, brought, built, cooked, packaged, volumes
from tests.registry import hashed, push, renamed, shown_command, shown_settings
from tests.support import CLUSTER, act, deployed

# Load balancers.

METALLB_IMAGES = {name: f"quay.io/metallb/{name}:v0.15.2" for name in ("controller", "speaker")}

# Prometheus and MetalLB are built from source the first time.
pytestmark = pytest.mark.timeout(3600)


def bring_metallb(manifests: Path) -> None:
    """Copy the file that the page says to download from the Go module, which has it, too."""
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
            address = wait_until(lambda: service_address(namespace), 60, "the service has an address")
            assert IPv4Address("192.168.1.251") <= IPv4Address(address) <= IPv4Address("192.168.1.254")
            # This computer is in the machines' network, and is not a node.
            assert wait_until(lambda: answer(address), 60, f"the service answers at {address}") in servers
            assert again() == []
        finally:
            run_kubectl("-n", namespace, "delete", "service", "public")


def service_address(namespace: str) -> str:
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
    """Deploy with metrics, and copy the certificate that the page says to copy."""
    deployed("--data", "metrics=true")
    for end in ("crt", "key"):
        shutil.copy(STATE / f"control/metrics.{end}", manifests / f"40-monitoring/tls.{end}")


def test_prometheus_scrapes_every_component(tmp_path: Path) -> None:
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
        assert query("count(container_memory_working_set_bytes)")
        assert again() == []


def up() -> dict[str, int]:
    return {each["metric"]["job"]: int(each["value"][1]) for each in query("sum by (job) (up)")}


def query(expression: str) -> list[dict[str, Any]]:
    """Return the results of a query to Prometheus, through the API server's proxy."""
    path = "/api/v1/namespaces/monitoring/services/prometheus:http/proxy/api/v1/query"
    response = json.loads(run_kubectl("get", "--raw", f"{path}?{httpx.QueryParams(query=expression)}"))
    found: list[dict[str, Any]] = response["data"]["result"]
    return found


MINION = CLUSTER.minions[0]


# Volumes.


def visitor(name: str, image: str, command: str) -> dict[str, Any]:
    """Return a pod that runs a command once, as an unprivileged user, with the claim `data` at /data."""
    described = server(name, "", image)
    container = described["spec"]["containers"][0]
    container |= {"command": ["python3", "-c", command], "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    del container["readinessProbe"], described["spec"]["nodeName"]
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    described["spec"] |= {
        "volumes": [volume],
        "restartPolicy": "Never",
        "securityContext": {"fsGroup": 65532},
    }
    return described


CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def visit(namespace: str, pod: dict[str, Any]) -> tuple[str, str]:
    """Run a pod to its end; return its output and its node."""
    name = pod["metadata"]["name"]
    run_kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(pod))
    done = "--for=jsonpath={.status.phase}=Succeeded"
    run_kubectl("-n", namespace, "wait", "pod", name, done, "--timeout=120s")
    node = run_kubectl("-n", namespace, "get", "pod", name, "-o", "jsonpath={.spec.nodeName}")
    output = run_kubectl("-n", namespace, "logs", name)
    run_kubectl("-n", namespace, "delete", "pod", name)
    return output.strip(), node


def test_a_pod_reads_what_an_earlier_pod_wrote_to_its_volume(namespace: str, image: str, tmp_path: Path) -> None:
    write = "import pathlib; pathlib.Path('/data/note').write_text('kept')"
    read = "import pathlib; print(pathlib.Path('/data/note').read_text())"
    with volumes(), cooked(tmp_path, "storage") as again:
        run_kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(CLAIM))
        try:
            waiting = run_kubectl("-n", namespace, "get", "pvc", "data", "-o", "jsonpath={.status.phase}")
            assert waiting == "Pending"
            _, first = visit(namespace, visitor("writer", image, write))
            assert visit(namespace, visitor("reader", image, read)) == ("kept", first)
            assert again() == []
        finally:
            run_kubectl("-n", namespace, "delete", "pod", "--all")
            run_kubectl("-n", namespace, "delete", "pvc", "data")


# A registry.

REGISTRY = "docker.io/library/registry:2.8.2"
PAGE = RECIPES / "registry.md"
PASSWORD = "correct horse"
PUSHED = "registry.internal/team/app:v1"


def bring_secrets(manifests: Path) -> None:
    """Make the certificate by the page's command, and the files with the password."""
    command = shown_command(PAGE)
    subprocess.run(["sh", "-c", command], cwd=manifests.parent, check=True, capture_output=True)
    (manifests.parent / "registry-password").write_text(f"{PASSWORD}\n")
    (manifests / "30-registry/htpasswd").write_text(f"kube:{hashed(PASSWORD)}\n")


def test_a_pod_runs_an_image_from_the_registry_in_the_cluster(namespace: str, tmp_path: Path) -> None:
    folder, made = tmp_path / "site", tmp_path / "made"
    folder.mkdir()
    made.mkdir()
    archive = packaged("docker-registry", "/usr/bin/docker-registry", made, REGISTRY)
    settings = {
        "images": [archive],
        "registries": shown_settings(PAGE),
    }
    pause = supply_of(open_inventory(INVENTORY)).image("pause", MINION.arch).archive
    container = {"name": "app", "image": PUSHED, "imagePullPolicy": "Always"}
    app = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app"},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    with (
        brought(REGISTRY, PUSHED),
        volumes(),
        cooked(folder, "storage", "registry", prepare=bring_secrets, **settings) as again,
    ):
        image = renamed(pause, made / "app.tar", PUSHED)
        authority = folder / "manifests/30-registry/tls.crt"
        for node in CLUSTER.minions:
            push(f"{node.address}:30500", authority, ("kube", PASSWORD), "team/app", image)
        run_kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(app))
        run_kubectl("-n", namespace, "wait", "pod", "app", "--for=condition=Ready", "--timeout=120s")
        run_kubectl("-n", namespace, "delete", "pod", "app")
        assert again() == []


# A team.


@pytest.fixture
def teammate() -> Path:
    """The kubeconfig of a member of the team."""
    # The user of an earlier run still exists on the same lab.
    name = f"ann-{uuid4().hex[:6]}"
    act("add_user.py", "--data", f"user={name}", "--data", "groups=team", "--data", "days=1")
    return STATE / f"users/{name}.conf"


def waiting(name: str, image: str) -> dict[str, Any]:
    """Return a pod that counts against the quota, and never starts."""
    described = server(name, "", image)
    del described["spec"]["nodeName"]
    described["spec"]["schedulingGates"] = [{"name": "example.org/never"}]
    return described


def refusal(teammate: Path, namespace: str, described: dict[str, Any]) -> str:
    with pytest.raises(KubectlFailed) as refused:
        run_kubectl("-n", namespace, "create", "-f", "-", given=json.dumps(described), kubeconfig=teammate)
    return str(refused.value)


def test_a_team_works_only_in_its_namespace_and_within_its_quota(teammate: Path, image: str, tmp_path: Path) -> None:
    with cooked(tmp_path, "team") as again:
        pod = server("web", MINION.name, image)
        run_kubectl("-n", "team", "create", "-f", "-", given=json.dumps(pod), kubeconfig=teammate)
        run_kubectl("-n", "team", "wait", "pod", "web", "--for=condition=Ready", "--timeout=120s", kubeconfig=teammate)
        assert "is forbidden: User" in refusal(teammate, "default", pod)
        for what in ("list nodes", "list secrets -A", "patch resourcequotas -n team", "create rolebindings -n team"):
            assert not may(teammate, *what.split()), what

        harmful = server("harmful", MINION.name, image)
        harmful["spec"]["containers"][0]["securityContext"] = {"runAsUser": 0}
        assert "violates PodSecurity" in refusal(teammate, "team", harmful)

        for number in range(1, 10):
            described = waiting(f"web-{number}", image)
            run_kubectl("-n", "team", "create", "-f", "-", given=json.dumps(described), kubeconfig=teammate)
        assert "exceeded quota: team" in refusal(teammate, "team", waiting("one-too-many", image))

        token = "jsonpath={.spec.volumes[*].projected}"
        assert run_kubectl("-n", "team", "get", "pod", "web", "-o", token) == ""
        assert again() == []


def may(teammate: Path, *what: str) -> bool:
    try:
        return run_kubectl("auth", "can-i", *what, kubeconfig=teammate).strip() == "yes"
    except KubectlFailed:
        return False
