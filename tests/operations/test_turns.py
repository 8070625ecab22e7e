"""Nodes that serve: what they have lost comes back at once, what differs waits for its turn."""

from __future__ import annotations

from kubekeel.files import Absent, File, Link, Seen
from kubekeel.service import Service
from operations import turns
from operations.converge import RoleSeen
from tests.hosts import as_described
from tests.operations.commands import Commands

CONFIG = "/var/lib/kubelet/config.yaml"
TOOLS = {"/opt/kubekeel/bin/ctr": Link("/opt/kubekeel/store/1/ctr")}
KUBELET = Service(unit="kubelet", files={CONFIG: File(b"new"), "/etc/left": Absent()}, ready="true")
ALL = {**TOOLS, **KUBELET.files}


def restored(commands: Commands, paths: dict[str, Seen]) -> list[str]:
    return commands(turns, "restore", RoleSeen(paths=paths), [KUBELET], TOOLS)


def test_what_a_node_has_lost_is_written(commands: Commands) -> None:
    for lost in (CONFIG, *TOOLS):
        there = {path: seen for path, seen in as_described(ALL).items() if path != lost}
        (write,) = restored(commands, there)
        assert [path for path in ALL if path in write] == [lost]


def test_what_differs_and_what_should_not_be_there_has_its_turn(commands: Commands) -> None:
    other = {path: Seen("f", 0o600, "root:root", 0.0, digest="other") for path in ALL}
    assert restored(commands, other) == []
