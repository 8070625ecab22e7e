"""The script that drains a node: one that keeps its pods is left as it was found."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "files/control_plane/drain.sh"
KUBECTL = """#!/bin/sh
echo "$1" >>{calls}
case $1 in {fails}) exit 1 ;; get) printf '{seen}' ;; esac
"""


def drain(home: Path, seen: str, fails: str = "none") -> subprocess.CompletedProcess[str]:
    kubectl = home / "kubectl"
    kubectl.write_text(KUBECTL.format(calls=home / "calls", seen=seen, fails=fails))
    kubectl.chmod(0o755)
    given = SCRIPT.read_text()
    return subprocess.run(["sh", "-s", "n", "300", kubectl], input=given, capture_output=True, text=True, check=False)


def calls(home: Path) -> list[str]:
    return (home / "calls").read_text().split()


def test_a_node_that_is_drained_stays_cordoned(tmp_path: Path) -> None:
    assert drain(tmp_path, "n ").returncode == 0
    assert calls(tmp_path) == ["get", "drain"]


def test_a_node_that_is_gone_needs_no_drain(tmp_path: Path) -> None:
    assert drain(tmp_path, "").returncode == 0
    assert calls(tmp_path) == ["get"]


def test_a_node_is_not_taken_for_gone_where_nobody_answers(tmp_path: Path) -> None:
    assert drain(tmp_path, "n ", fails="get").returncode == 1


@pytest.mark.parametrize(
    ("seen", "fails", "called", "said"),
    [
        ("n ", "drain", ["get", "drain", "uncordon"], "it takes new ones again"),
        ("n true", "drain", ["get", "drain"], "it takes no new ones, as before"),
        ("n ", "drain|uncordon", ["get", "drain", "uncordon"], "it takes no new ones until kubectl uncordon n"),
    ],
)
def test_a_node_that_keeps_its_pods_is_as_it_was_and_that_is_told(
    tmp_path: Path, seen: str, fails: str, called: list[str], said: str
) -> None:
    done = drain(tmp_path, seen, fails)
    assert done.returncode == 1
    assert calls(tmp_path) == called
    assert done.stderr.startswith("n: was not drained in 300 s, see above; make room on other nodes, or delete those")
    assert done.stderr.endswith(f"({said})\n")
