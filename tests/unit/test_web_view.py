"""The dashboards' manifests, and the contents of kube-web-view's image."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from kubekeel import render
from kubekeel.artifacts import ArtifactError, pip, web_view

DASHBOARDS = ("headlamp", "kube-web-view")
REQUIREMENTS = render.PROJECT / "files/web_view/requirements.txt"


def manifests(dashboard: str, *, digest: str = "sha256:1", minions: tuple[str, ...] = ("minion1",)) -> list[Any]:
    text = render.render(
        f"addons/dashboard-{dashboard}.yaml",
        image=SimpleNamespace(reference="example/dashboard:1", digest=digest),
        cluster=SimpleNamespace(minions=minions),
    )
    return list(yaml.safe_load_all(text))


def pod_template(objects: list[Any]) -> dict[str, Any]:
    return next(each for each in objects if each["kind"] == "Deployment")["spec"]["template"]


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_a_dashboards_pod_fits_the_restricted_profile_and_writes_to_volumes_only(dashboard: str) -> None:
    spec = pod_template(manifests(dashboard))["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert all(set(volume) == {"name", "emptyDir"} for volume in spec.get("volumes", ()))
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["image"] == "example/dashboard:1"
        assert container["imagePullPolicy"] == "IfNotPresent"
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_a_dashboard_may_read_the_cluster_except_secrets(dashboard: str) -> None:
    objects = manifests(dashboard)
    rules = [rule for each in objects if each["kind"] == "ClusterRole" for rule in each["rules"]]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
    resources = {resource for rule in rules for resource in rule["resources"]}
    assert "nodes" in resources
    assert not resources & {"*", "secrets"}
    bound = {each["roleRef"]["name"] for each in objects if each["kind"] == "ClusterRoleBinding"}
    assert bound == {"kubekeel:dashboard", "view"}


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_both_dashboards_answer_at_the_same_service(dashboard: str) -> None:
    objects = manifests(dashboard)
    service = next(each for each in objects if each["kind"] == "Service")
    (port,) = service["spec"]["ports"]
    assert (service["metadata"]["namespace"], service["metadata"]["name"], port["name"]) == (
        "kube-system",
        "dashboard",
        "http",
    )
    template = pod_template(objects)
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert port["targetPort"] in {each["name"] for each in template["spec"]["containers"][0]["ports"]}


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_a_new_image_makes_new_pods(dashboard: str) -> None:
    old, new = (pod_template(manifests(dashboard, digest=digest)) for digest in ("sha256:1", "sha256:2"))
    assert old != new


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_a_dashboard_runs_on_masters_only_where_there_are_no_minions(dashboard: str) -> None:
    assert "tolerations" not in pod_template(manifests(dashboard))["spec"]
    (toleration,) = pod_template(manifests(dashboard, minions=()))["spec"]["tolerations"]
    assert toleration == {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def test_every_package_of_the_image_is_pinned_by_version_and_hash() -> None:
    entries = re.sub(r"(?m)^#.*\n", "", REQUIREMENTS.read_text()).replace("\\\n", " ").splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+\s*", entry) for entry in entries)
    assert any(entry.startswith(f"kube-web-view=={web_view.VERSION} ") for entry in entries)


def test_the_image_depends_on_its_architecture_and_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = web_view.key("amd64")
    assert web_view.key("amd64") == before
    assert web_view.key("arm64") != before
    other = tmp_path / "requirements.txt"
    other.write_text("kube-web-view==1")
    monkeypatch.setattr(web_view, "_REQUIREMENTS", other)
    assert web_view.key("amd64") != before


def test_a_missing_mmdebstrap_is_named_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ArtifactError, match="mmdebstrap is missing; run 'apt-get install mmdebstrap'"):
        web_view.root_filesystem("amd64", tmp_path)


@pytest.fixture
def computer(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a computer with the programs that a test sets; `ran` lists the commands run on it."""
    it = SimpleNamespace(has_pip=True, uv=None, answer=subprocess.CompletedProcess([], 0, stderr=""), ran=[])

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        it.ran.append(command)
        return it.answer

    monkeypatch.setattr(pip.importlib.util, "find_spec", lambda _: it.has_pip or None)
    monkeypatch.setattr(pip.shutil, "which", lambda _: it.uv)
    monkeypatch.setattr(pip.subprocess, "run", run)
    return it


def install(python: pip.Python | None = None) -> None:
    pip.install(Path("requirements.txt"), Path("folder"), what="thing 1.0", remedy="get it yourself", python=python)


def test_wheels_are_installed_by_pip_or_else_by_uv(computer: SimpleNamespace) -> None:
    computer.uv = "/opt/uv"
    install()
    computer.has_pip = False
    install()
    by_pip, by_uv = computer.ran
    assert by_pip[1:4] == ["-m", "pip", "install"]
    assert by_uv[:3] == ["/opt/uv", "pip", "install"]
    for command in computer.ran:
        assert {"--require-hashes", "--only-binary=:all:", "--no-deps", "--target=folder"} <= set(command)


@pytest.mark.parametrize("has_pip", [True, False])
def test_wheels_are_for_the_requested_architecture(computer: SimpleNamespace, has_pip: bool) -> None:
    computer.has_pip, computer.uv = has_pip, "/opt/uv"
    install(pip.Python("3.11", "aarch64"))
    (command,) = computer.ran
    assert "--python-version=3.11" in command
    assert any(re.match(r"--(python-)?platform=.*aarch64", argument) for argument in command)


def test_missing_pip_and_uv_are_named_with_a_remedy(computer: SimpleNamespace) -> None:
    computer.has_pip = False
    with pytest.raises(
        ArtifactError,
        match=r"thing 1\.0: cannot be installed \(neither pip nor uv is on this computer\); get it yourself",
    ):
        install()


def test_unavailable_wheels_are_reported_with_the_reason(computer: SimpleNamespace) -> None:
    computer.answer = subprocess.CompletedProcess([], 1, stderr="looking\nno such version\n")
    with pytest.raises(ArtifactError, match=r"thing 1\.0: cannot be installed \(no such version\); get it yourself"):
        install()
