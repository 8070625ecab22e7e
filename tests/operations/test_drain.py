"""The script that drains a node, and that undoes the drain if pods stay."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from operations import drain as operations

SCRIPT = Path(__file__).resolve().parents[2] / "files/control_plane/drain.sh"
MARK = "example.org/drained"
KUBECTL = """#!/bin/sh
echo "$1" >>{calls}
case $1 in {fails}) exit 1 ;; get) printf '{seen}' ;; esac
"""


def drain(home: Path, seen: str, fails: str = "none") -> subprocess.CompletedProcess[str]:
    kubectl = home / "kubectl"
    kubectl.write_text(KUBECTL.format(calls=home / "calls", seen=seen, fails=fails))
    kubectl.chmod(0o755)
    script = SCRIPT.read_text()
    return subprocess.run(
        ["sh", "-s", "n", "300", MARK, kubectl], input=script, capture_output=True, text=True, check=False
    )


def calls(home: Path) -> list[str]:
    return (home / "calls").read_text().split()


# A kubectl that keeps services in a folder, each with its label, and knows endpoints for all of them.
SERVICES = """#!/bin/sh
case $* in
*create*)
  name=$(sed -n 's/.*"labels": {{"kubekeel-probe": "\\([^"]*\\)".*/probe-of-\\1/p')
  touch {services}/$name
  echo "$name" ;;
*"get services"*) owner=${{*##*kubekeel-probe=}}; echo "probe-of-${{owner%% *}}" ;;
*"get endpointslices"*) echo asked >>{services}/../asked; [ $(wc -l <{services}/../asked) -lt {calls} ] || echo found ;;
*"get lease"*) echo leader ;;
*delete*) owner=${{*##*kubekeel-probe=}}; rm -f {services}/probe-of-${{owner%% *}} ;;
esac
"""


def test_drains_of_a_batch_leave_each_other_s_probe_alone(tmp_path: Path) -> None:
    services = tmp_path / "services"
    services.mkdir()
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(SERVICES.format(services=services, calls=1))
    kubectl.chmod(0o755)
    script = SCRIPT.with_name("probe-endpoints.sh").read_text()
    for step, owner in (("begin", "a"), ("begin", "b"), ("end", "b")):
        subprocess.run(["sh", "-s", step, owner, kubectl], input=script, text=True, check=True)
    assert [each.name for each in services.iterdir()] == ["probe-of-a"]


@pytest.mark.parametrize(("calls", "status", "left"), [(3, 0, ["probe-of-n"]), (10**6, 1, [])])
def test_a_drain_waits_for_endpoints_as_long_as_something_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int, status: int, left: list[str]
) -> None:
    services, kubectl = tmp_path / "services", tmp_path / "kubectl"
    services.mkdir()
    kubectl.write_text(SERVICES.format(services=services, calls=calls))
    kubectl.chmod(0o755)
    monkeypatch.setattr(operations, "KUBECTL", str(kubectl))
    monkeypatch.setattr(operations, "_PROBE_PATIENCE", 2)
    command = ["sh", "-c", operations.begin_probe("n")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status
    assert ("the controller manager does not make endpoints, so services would" in done.stdout) == bool(status)
    assert [each.name for each in services.iterdir()] == left


def test_a_drained_node_stays_cordoned_with_a_mark(tmp_path: Path) -> None:
    assert drain(tmp_path, "n  ").returncode == 0
    assert calls(tmp_path) == ["get", "label", "drain"]


def test_a_node_that_users_cordoned_gets_no_mark(tmp_path: Path) -> None:
    assert drain(tmp_path, "n true ").returncode == 0
    assert calls(tmp_path) == ["get", "drain"]


def test_a_node_that_an_interrupted_run_cordoned_keeps_its_mark(tmp_path: Path) -> None:
    assert drain(tmp_path, "n true yes").returncode == 0
    assert calls(tmp_path) == ["get", "label", "drain"]


def test_a_deleted_node_needs_no_drain(tmp_path: Path) -> None:
    assert drain(tmp_path, "").returncode == 0
    assert calls(tmp_path) == ["get"]


def test_a_node_is_not_taken_for_deleted_if_the_api_does_not_answer(tmp_path: Path) -> None:
    assert drain(tmp_path, "n  ", fails="get").returncode == 1


@pytest.mark.parametrize(
    ("seen", "fails", "called", "ending"),
    [
        ("n  ", "drain", ["get", "label", "drain", "uncordon", "label"], "it takes new ones again"),
        ("n true yes", "drain", ["get", "label", "drain", "uncordon", "label"], "it takes new ones again"),
        ("n true ", "drain", ["get", "drain"], "it takes no new ones, as before"),
        (
            "n  ",
            "drain|uncordon",
            ["get", "label", "drain", "uncordon"],
            "it takes no new ones until kubectl uncordon n",
        ),
    ],
)
def test_a_node_that_could_not_be_drained_is_restored_with_a_message(
    tmp_path: Path, seen: str, fails: str, called: list[str], ending: str
) -> None:
    done = drain(tmp_path, seen, fails)
    assert done.returncode == 1
    assert calls(tmp_path) == called
    assert done.stderr.startswith("n: was not drained in 300 s, see above; make room on other nodes, or delete those")
    assert done.stderr.endswith(f"({ending})\n")


@pytest.mark.parametrize(
    ("marked", "called"), [("node/n", ["get", "uncordon", "label"]), ("node/nn", ["get"]), ("", ["get"])]
)
def test_only_a_node_with_the_mark_takes_pods_again(tmp_path: Path, marked: str, called: list[str]) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL.format(calls=tmp_path / "calls", seen=marked, fails="none"))
    kubectl.chmod(0o755)
    script = SCRIPT.with_name("uncordon.sh").read_text()
    subprocess.run(["sh", "-s", "n", MARK, kubectl], input=script, text=True, check=True)
    assert calls(tmp_path) == called
