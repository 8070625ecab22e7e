"""Operations host by host: in the inventory's order, and only up to the first host that fails."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.flow.fake import CONFIG, PROJECT, deploy

MASTERS = """
masters = [_host("m1", 1, fails={fails!r}), _host("m2", 2), _host("m3", 3)]
etcd = [_host("e", 4)]
minions = [_host("a", 5)]
"""
RESTARTS = "systemctl restart --no-block kubelet"

OWN = """
from pyinfra import host
from pyinfra.operations import server
from tasks import preflight

preflight.check()
if "masters" in host.groups:
    server.shell(name="in turn", commands=["touch /mark"], _serial=True)
server.shell(name="after", commands=["touch /after"])
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "deploy.py").write_text((PROJECT / "deploy.py").read_text())
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "config.py").write_text(CONFIG)
    return tmp_path


def run(home: Path, *arguments: str, fails: str = "", file: str) -> subprocess.CompletedProcess[str]:
    return deploy(home, MASTERS.format(fails=fails), "--data", "artifact_source=source", *arguments, file=file)


def outcomes(done: subprocess.CompletedProcess[str], operation: str) -> list[tuple[str, str]]:
    """Return each host with the outcome of this operation, in order."""
    _, _, part = done.stderr.partition(f"operation: {operation}")
    part, _, _ = part.partition("Starting ")
    return re.findall(r"\[@fake/(\w+)\] +(Success|No changes|Error)", part)


def test_after_a_master_fails_the_run_does_not_change_the_next_ones(home: Path) -> None:
    done = run(home, fails=RESTARTS, file="deploy.py")
    assert outcomes(done, "control plane | start new API servers one by one") == [("m1", "Error")]
    assert (
        "control plane | start new API servers one by one: the run did not change @fake/m2, @fake/m3,"
        " because @fake/m1 failed"
    ) in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("options", [(), ("--fail-percent", "90")])
def test_an_operation_host_by_host_ends_at_the_first_host_that_fails(home: Path, options: tuple[str, ...]) -> None:
    done = run(home, *options, fails="touch /mark", file="own.py")
    assert outcomes(done, "in turn") == [("m1", "Error")]
    assert "in turn: the run did not change @fake/m2, @fake/m3, because @fake/m1 failed" in done.stderr
    assert "Starting operation: after" not in done.stderr
    assert done.returncode == 1


def test_hosts_take_their_turns_in_the_order_of_the_inventory(home: Path) -> None:
    done = run(home, file="own.py")
    assert [host for host, _ in outcomes(done, "in turn")] == ["m1", "m2", "m3"]
    assert "Starting operation: after" in done.stderr
