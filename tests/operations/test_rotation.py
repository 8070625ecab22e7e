"""Writing everything anew: what counts as a fault, and what does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from operations.kubectl import KUBECTL
from operations.rotation import _REWRITE

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


def said(reason: str) -> str:
    return f"""echo 'Error from server ({reason}): error when replacing "STDIN"' >&2; exit 1"""


def test_nothing_is_said_where_all_went_well(tmp_path: Path) -> None:
    done = rewrite(tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("reason", ["Conflict", "NotFound"])
def test_what_changed_or_went_meanwhile_is_no_fault(tmp_path: Path, reason: str) -> None:
    assert rewrite(tmp_path, replace=said(reason)).returncode == 0


def test_a_cluster_without_secrets_is_no_fault(tmp_path: Path) -> None:
    assert rewrite(tmp_path, replace="echo 'error: no objects passed to replace' >&2; exit 1").returncode == 0


@pytest.mark.parametrize("where", ["get", "replace"])
def test_any_other_fault_fails_with_what_kubectl_said(tmp_path: Path, where: str) -> None:
    done = rewrite(tmp_path, **{where: said("Forbidden")})
    assert done.returncode == 1
    assert done.stdout.startswith("master: not everything could be rewritten; run again.")
    assert "(Forbidden)" in done.stdout
