"""The status of a host: its own script, run on real files."""

from __future__ import annotations

import os
import re
import subprocess
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubekeel.needs import needs
from kubekeel.parts import placeholder
from kubekeel.render import Target
from kubekeel.status import Certificate, Member, NodeStatus, Status
from operations import status
from tasks import health
from tests import status_example as example
from tests.clusters import cluster
from tests.hosts import machine

DAY = 86400


@cache
def target() -> Target:
    supply: Any = SimpleNamespace(
        image=lambda _name, _arch: SimpleNamespace(reference="image", digest="digest", pinned=True),
        binary=lambda _name, _arch: SimpleNamespace(sha256="digest"),
        own={},
    )
    desired = cluster()
    node = desired.node("m")
    return Target(node, machine("m"), desired, placeholder(node, desired).pki, supply)


def seen(root: Path) -> NodeStatus:
    """Return the status of the host whose snapshots and timer of snapshots are below `root`."""
    script = re.sub(r"(?<=[ \"=])/(etc|var/lib)/", rf"{root}/\1/", status._script(target(), (), {}))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    return status._seen(target(), (), {}, done.stdout.splitlines())


def problems(seen: NodeStatus) -> list[str]:
    return [*Status("test", "v1.37.2", renew_before_days=30, nodes=(seen,)).problems()]


def put(path: Path, days: float) -> None:
    """Write a file that was last changed so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - days * DAY,) * 2)


@pytest.mark.parametrize(
    ("timer", "snapshot", "why"),
    [
        (None, None, ""),
        (0.5, None, ""),
        (3, None, "(none)"),
        (3, 0.5, ""),
        (3, 2, "(the newest 48 h ago)"),
        (0.5, 2, ""),
    ],
)
def test_a_member_without_a_snapshot_is_a_problem_once_two_are_due(
    tmp_path: Path, timer: float | None, snapshot: float | None, why: str
) -> None:
    if timer is not None:
        put(tmp_path / "etc/systemd/system/etcd-snapshot.timer", timer)
    if snapshot is not None:
        put(tmp_path / "var/lib/etcd-snapshots/2026-01-01T000000Z.db", snapshot)
    found = problems(seen(tmp_path))
    assert len(found) == bool(why)
    assert all(f"m: etcd has no snapshot of the last 24 h {why};" in line for line in found)


@pytest.mark.parametrize(("days", "lines"), [(0.5, 1), (1.5, 0)])
def test_a_restart_that_can_still_continue_is_a_note(tmp_path: Path, days: float, lines: int) -> None:
    put(tmp_path / "etc/kubekeel/restart.json", days)
    notes = Status("test", "v1.37.2", renew_before_days=30, nodes=(seen(tmp_path),)).notes()
    assert sum(line.startswith("m: its restart is not finished; ") for line in notes) == lines


def test_text_from_hosts_is_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    said = "[/x] [red]"
    member = Member(leads=True, size=1, alarms=(said,))
    certificates = (Certificate(f"/etc/{said}.crt", 9),)
    nodes = (
        example.node("m", 1, "etcd", member=member, certificates=certificates),
        example.node("a", 2, unreachable=said),
    )
    status._print(example.status(*nodes))
    shown = capsys.readouterr().out
    assert f"a: is unreachable ({said}); start it" in shown
    assert f"(/etc/{said}.crt)" in shown
    assert shown.count(said) >= 4


def test_a_deleted_binary_of_a_running_program_is_a_problem(tmp_path: Path) -> None:
    digest = tmp_path / "opt/kubekeel/store/digest"
    digest.mkdir(parents=True)
    for name in needs(target().node, target().cluster).binaries:
        (digest / name).touch(0o755)
    found = {"binaries": health.conditions(target())["binaries"].replace("/opt/", f"{tmp_path}/opt/")}

    def components() -> str:
        script = status._script(target(), (), found)
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
        return "; ".join(problems(status._seen(target(), (), found, done.stdout.splitlines())))

    assert "binaries" not in components()
    (digest / "kubelet").unlink()
    assert "m: is not as described (binaries); deploy again" in components()
