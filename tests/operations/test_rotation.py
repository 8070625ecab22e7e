"""Rewriting all objects after a rotation, and waiting for pods to get the new keys."""

from __future__ import annotations

import json
import re
import subprocess
from base64 import urlsafe_b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubekeel.pki import SERVICE_ACCOUNT, Pki, Step
from kubekeel.render import PROJECT
from kubekeel.service import Service
from operations import rotation
from operations.kubectl import KUBECTL
from operations.rotation import _PODS_KNOW, _REWRITE
from tests.operations.commands import Commands
from tests.unit.keys import CLUSTER

FAKE = """#!/bin/sh
[ "$1" = get ] && {{ {get}; exit; }}
read -r line; echo "replaced $line"; {replace}
"""


def rewrite(folder: Path, get: str = "echo '{}'", replace: str = "true") -> subprocess.CompletedProcess[str]:
    kubectl = folder / "kubectl"
    kubectl.write_text(FAKE.format(get=get, replace=replace))
    kubectl.chmod(0o755)
    script = _REWRITE.replace(KUBECTL, str(kubectl)).replace("{host}", "master")
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)


def failing(reason: str) -> str:
    return f"""echo 'Error from server ({reason}): error when replacing "STDIN"' >&2; exit 1"""


def test_a_successful_rewrite_prints_nothing(tmp_path: Path) -> None:
    done = rewrite(tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("reason", ["Conflict", "NotFound"])
def test_an_object_that_was_changed_or_deleted_meanwhile_is_not_a_fault(tmp_path: Path, reason: str) -> None:
    assert rewrite(tmp_path, replace=failing(reason)).returncode == 0


def test_a_cluster_without_secrets_is_not_a_fault(tmp_path: Path) -> None:
    assert rewrite(tmp_path, replace="echo 'error: no objects passed to replace' >&2; exit 1").returncode == 0


@pytest.mark.parametrize("where", ["get", "replace"])
def test_any_other_fault_fails_with_the_error_of_kubectl(tmp_path: Path, where: str) -> None:
    done = rewrite(tmp_path, **{where: failing("Forbidden")})
    assert done.returncode == 1
    assert done.stdout.startswith("master: not everything could be rewritten; run again.")
    assert "(Forbidden)" in done.stdout


# Tokens in memory


SIGNER: Any = SimpleNamespace(token_key_id="1")


@pytest.mark.parametrize(("name", "master"), [("m", True), ("w", False)])
def test_a_node_restarts_what_keeps_tokens_in_a_turn_of_its_own_and_serves_before_the_turn_ends(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, name: str, master: bool
) -> None:
    monkeypatch.setattr(rotation, "node_of", lambda _: CLUSTER.node(name))
    monkeypatch.setattr(rotation, "stopped_before", lambda: None)
    restart, *waits = commands(rotation, "renew_tokens_in_memory", {}, [Service("kubelet", {}, "ready-and-healthy")])
    assert restart.startswith("set -e\nsystemctl restart kubelet.service")
    assert ("kube-controller-manager" in restart) == master
    assert len(waits) == 1
    assert "systemctl is-active --quiet kubelet.service && ready-and-healthy" in waits[0]


@pytest.mark.parametrize("name", ["m", "w"])
def test_the_wait_after_a_rotation_restarts_nothing(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(rotation, "node_of", lambda _: CLUSTER.node(name))
    waits = commands(rotation, "spread", {}, [SERVICE_ACCOUNT], Step.SIGN, SIGNER)
    assert waits
    assert not any("restart kubelet" in each for each in waits)


def test_a_rotation_of_tokens_takes_masters_one_by_one_and_minions_in_batches() -> None:
    action = (PROJECT / "actions/rotate.py").read_text()
    calls = re.findall(r"renew_tokens_in_memory\((.*)\)$", action, re.MULTILINE)
    assert [call.rpartition(", ")[2] for call in calls] == ["_serial=True", "_parallel=batch"]
    assert "batch = at_once(cluster)" in action


# Keys in pods

OLD, NEW = (Pki.open(Path("/nowhere"), CLUSTER) for _ in range(2))


def header(key: str) -> str:
    """Return the header of a token as API servers write it."""
    return urlsafe_b64encode(json.dumps({"alg": "ES256", "kid": key}).encode()).decode().rstrip("=")


def identified(key: str) -> Any:
    """Return what a test reads of a PKI, with this ID of the key of tokens."""
    return SimpleNamespace(token_key_id=key, authority=NEW.authority)


def pods_know(folder: Path, *what: str, **pods: Pki) -> bool:
    """Whether all pods, each with the keys of its PKI, have the new keys of the host."""
    for name, pki in pods.items():
        volume = folder / f"pods/{name}/volumes/kubernetes.io~projected/kube-api-access-{name}"
        volume.mkdir(parents=True, exist_ok=True)
        (volume / "token").write_text(f"{header(pki.token_key_id)}.payload.signature")
        (volume / "ca.crt").write_bytes(pki.authority("ca"))
    (folder / "ca.crt").write_bytes(NEW.authority("ca"))
    script = _PODS_KNOW.replace("/var/lib/kubelet", str(folder)).replace("/etc/kubernetes/pki", str(folder))
    return subprocess.run(["sh", "-c", script, "pods-know", *what], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("key", ["-m1", "--help", "_a/b"])
def test_the_id_of_a_key_may_begin_like_an_option(tmp_path: Path, key: str) -> None:
    """An ID is the start of a digest in base64 for URLs."""
    assert pods_know(tmp_path, "tokens", key, one=identified(key))
    assert not pods_know(tmp_path, "tokens", key, one=identified("another"))


@pytest.mark.parametrize("what", [("authority",), ("tokens", NEW.token_key_id)])
def test_a_host_is_done_once_each_of_its_pods_has_the_new_keys(tmp_path: Path, what: tuple[str, ...]) -> None:
    assert pods_know(tmp_path, *what)
    assert not pods_know(tmp_path, *what, one=NEW, other=OLD)
    assert pods_know(tmp_path, *what, one=NEW, other=NEW)
