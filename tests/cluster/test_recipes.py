"""The recipes of docs/recipes/, cooked on the lab from the very files that users copy: what each of them promises.

Those whose images are built here for minutes are in tests/chaos/test_recipes.py.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from run.inventory import open_inventory, supply_of
from tests.lab_cluster import INVENTORY, STATE, KubectlFailed, run_kubectl, server
from tests.recipes import RECIPES, brought, cooked, packaged, volumes
from tests.registry import hashed, push, renamed, shown_command, shown_settings
from tests.support import CLUSTER, act

MINION = CLUSTER.minions[0]


# Volumes.


def visitor(name: str, image: str, command: str) -> dict[str, Any]:
    """A pod that runs to its end with the claim `data` at /data, as a user without rights."""
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
    """Run a pod to its end: what it said, and on which node."""
    name = pod["metadata"]["name"]
    run_kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(pod))
    done = "--for=jsonpath={.status.phase}=Succeeded"
    run_kubectl("-n", namespace, "wait", "pod", name, done, "--timeout=120s")
    node = run_kubectl("-n", namespace, "get", "pod", name, "-o", "jsonpath={.spec.nodeName}")
    said = run_kubectl("-n", namespace, "logs", name)
    run_kubectl("-n", namespace, "delete", "pod", name)
    return said.strip(), node


def test_a_pod_finds_again_what_one_before_it_wrote_to_its_volume(namespace: str, image: str, tmp_path: Path) -> None:
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
    """What the page says to make: a certificate by its own command, and the password."""
    command = shown_command(PAGE)
    subprocess.run(["sh", "-c", command], cwd=manifests.parent, check=True, capture_output=True)
    (manifests.parent / "registry-password").write_text(f"{PASSWORD}\n")
    (manifests / "30-registry/htpasswd").write_text(f"kube:{hashed(PASSWORD)}\n")


def test_a_pod_runs_from_an_image_that_was_pushed_to_the_registry_of_the_cluster(
    namespace: str, tmp_path: Path
) -> None:
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
    """The kubeconfig of somebody of the team."""
    # Another run of this spec on the same lab finds the name taken.
    name = f"ann-{uuid4().hex[:6]}"
    act("add_user.py", "--data", f"user={name}", "--data", "groups=team", "--data", "days=1")
    return STATE / f"users/{name}.conf"


def waiting(name: str, image: str) -> dict[str, Any]:
    """A pod that counts, and that is not started."""
    described = server(name, "", image)
    del described["spec"]["nodeName"]
    described["spec"]["schedulingGates"] = [{"name": "example.org/never"}]
    return described


def refusal(teammate: Path, namespace: str, described: dict[str, Any]) -> str:
    with pytest.raises(KubectlFailed) as refused:
        run_kubectl("-n", namespace, "create", "-f", "-", given=json.dumps(described), kubeconfig=teammate)
    return str(refused.value)


def test_a_team_works_in_its_namespace_within_its_quota_and_nowhere_else(
    teammate: Path, image: str, tmp_path: Path
) -> None:
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
