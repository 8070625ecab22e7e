"""Serving nodes: missing files are restored at once, differing ones wait for the node's turn."""

from __future__ import annotations

import pytest

from kubekeel.files import Absent, File, Link, Seen
from kubekeel.nodes import TAKEN_OUT
from kubekeel.service import Service
from operations import turns
from operations.converge import Look
from tests.hosts import as_described
from tests.operations.commands import RUNNING, Commands, Described

CONFIG = "/var/lib/kubelet/config.yaml"
TOOLS = {"/opt/kubekeel/bin/ctr": Link("/opt/kubekeel/store/1/ctr")}
KUBELET = Service(unit="kubelet", files={CONFIG: File(b"new"), "/etc/left": Absent()}, ready="true")
ALL = {**TOOLS, **KUBELET.files}


def restored(commands: Commands, paths: dict[str, Seen]) -> list[str]:
    return commands(turns, "restore", {Look: Described(paths)}, [KUBELET], TOOLS)


def test_the_missing_files_of_a_node_are_restored(commands: Commands) -> None:
    for lost in (CONFIG, *TOOLS):
        there = {path: seen for path, seen in as_described(ALL).items() if path != lost}
        (write,) = restored(commands, there)
        assert [path for path in ALL if path in write] == [lost]


@pytest.mark.parametrize(("digest", "done"), [("", ["bring_back", "rm -f"]), ("other", ["true"])], ids=["no", "a turn"])
def test_a_node_that_an_interrupted_run_drained_takes_pods_again_unless_it_needs(
    commands: Commands, digest: str, done: list[str]
) -> None:
    there = {**as_described(ALL), TAKEN_OUT: Seen("f", 0o644, "root:root", 0.0)}
    if digest:
        there[CONFIG] = Seen("f", 0o600, "root:root", 0.0, digest=digest)
    found = commands(turns, "hold", {Look: Described(there, {"kubelet": RUNNING})}, [KUBELET], TOOLS, [])
    assert len(found) == len(done)
    assert [words in command for words, command in zip(done, found, strict=True)] == [True] * len(done)


def test_differing_and_unwanted_files_wait_for_their_turn(commands: Commands) -> None:
    other = {path: Seen("f", 0o600, "root:root", 0.0, digest="other") for path in ALL}
    assert restored(commands, other) == []
