"""The script that asks a master what may hinder an upgrade, with a kubectl that answers as Kubernetes does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "files/control_plane/in-the-way.sh"
USED = (
    'apiserver_requested_deprecated_apis{group="flowcontrol.apiserver.k8s.io",removed_release="1.32",'
    'resource="flowschemas",subresource="",version="v1beta3"} 1'
)


def kubectl(folder: Path, metrics: str) -> Path:
    program = folder / "kubectl"
    answers = f"*poddisruptionbudgets*) echo 'budget team/web 2' ;;\n*/metrics) echo '{metrics}' ;;"
    program.write_text(f"#!/bin/sh\ncase $* in\n{answers}\nesac\n")
    program.chmod(0o755)
    return program


def event(user: str, agent: str, deprecated: bool) -> str:
    """Return an event as API servers write it."""
    annotations = {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""}
    if deprecated:
        annotations |= {"k8s.io/deprecated": "true", "k8s.io/removed-release": "1.32"}
    fields = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "requestURI": "/apis/flowcontrol.apiserver.k8s.io/v1beta3/flowschemas/mine",
        "verb": "get",
        "user": {"username": user, "groups": ["system:authenticated"]},
        "sourceIPs": ["192.0.2.9"],
        "userAgent": agent,
        "objectRef": {
            "resource": "flowschemas",
            "name": "mine",
            "apiGroup": "flowcontrol.apiserver.k8s.io",
            "apiVersion": "v1beta3",
        },
        "responseStatus": {"metadata": {}, "code": 200},
        "annotations": annotations,
    }
    return json.dumps(fields, separators=(",", ":")) + "\n"


def lines(folder: Path, metrics: str) -> list[str]:
    command = ["sh", SCRIPT, folder, kubectl(folder, metrics), "--kubeconfig=x"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_budgets_and_deprecated_apis_are_listed_with_each_client_once(tmp_path: Path) -> None:
    (tmp_path / "audit-1.log").write_text(event("jane", "kubectl/v1.30.1 (linux/amd64)", True) * 3)
    (tmp_path / "audit.log").write_text(event("joe", "curl/8", False) + event("ci", "helm", True))
    assert lines(tmp_path, USED) == [
        "budget team/web 2",
        f"deprecated {USED.partition('{')[2].rpartition('}')[0]}",
        "user flowcontrol.apiserver.k8s.io/v1beta3/flowschemas ci, helm",
        "user flowcontrol.apiserver.k8s.io/v1beta3/flowschemas jane, kubectl/v1.30.1",
    ]


def test_audit_logs_are_not_read_if_no_deprecated_api_is_used(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_text(event("jane", "kubectl/v1.30.1", True))
    assert lines(tmp_path, "apiserver_request_total 7") == ["budget team/web 2"]
