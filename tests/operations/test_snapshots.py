"""A snapshot comes from a member that serves, or from one disk, and never from a second one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.connectors.util import CommandOutput, OutputLine

from kubekeel.backup import BackupError
from kubekeel.snapshot import MemberSeen, read
from operations import snapshots
from operations.converge import Look
from operations.members import TIMER
from tests.clusters import cluster
from tests.operations.commands import Commands, Described

NODES = cluster().nodes
STATE: Any = None


class Hosts:
    """Hosts that answer a script by the first known word in it, and record which host got which word."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: dict[str, str]) -> None:
        self.sent: list[tuple[str, str]] = []
        self._answers = answers
        members = {
            node: SimpleNamespace(name=node.name, print_prefix="", connector_data={})
            for node in NODES
            if node.name in answers
        }
        monkeypatch.setattr(snapshots, "_members", lambda _: members)
        monkeypatch.setattr(snapshots, "node_of", lambda host: next(n for n in NODES if n.name == host.name))
        monkeypatch.setattr(snapshots, "cluster_of", lambda _: cluster())
        monkeypatch.setattr(snapshots, "ask", self._ask)
        for host in members.values():
            host.inventory = None

    def _ask(self, host: Any, script: str, _patience: int = 0) -> tuple[bool, CommandOutput]:
        for word, answer in self._answers[host.name].items():
            if word in script:
                self.sent.append((host.name, word))
                good = not answer.startswith("! ")
                lines = answer.removeprefix("! ").splitlines()
                return good, CommandOutput([OutputLine("stdout" if good else "stderr", line) for line in lines])
        raise TimeoutError


SERVES, SILENT = {"get health": "serves"}, {"get health": "said Error: context deadline exceeded"}
TAKES = {"etcd-snapshot.service": "/var/lib/etcd-snapshots/now.db"}
FAILS = {"etcd-snapshot.service": "! No space left on device"}


def stopped(hosts: Hosts) -> Sequence[str]:
    return [name for name, word in hosts.sent if word == "force-new-cluster"]


def test_a_member_that_serves_gives_the_snapshot_even_if_others_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = Hosts(monkeypatch, m=SILENT, a={**FAILS, **SERVES}, b={**TAKES, **SERVES})
    taken = snapshots.newest(STATE)
    assert (taken.host.name, taken.path) == ("b", "/var/lib/etcd-snapshots/now.db")
    assert stopped(hosts) == []


def test_no_etcd_is_stopped_if_a_member_serves_but_cannot_write_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = Hosts(monkeypatch, m=SILENT, a={**FAILS, **SERVES})
    with pytest.raises(BackupError, match=r"^a: could not take a snapshot \(No space left on device\)$"):
        snapshots.newest(STATE)
    assert stopped(hosts) == []


def test_a_failed_rescue_is_not_tried_on_another_member(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"force-new-cluster": "! cp: No space left on device", **SILENT}
    hosts = Hosts(monkeypatch, m=broken, a=broken, b=broken)
    with pytest.raises(
        BackupError, match=r"^m: could not take a snapshot \(cp: No .*\); --limit chooses another member$"
    ):
        snapshots.newest(STATE)
    assert stopped(hosts) == ["m"]


def test_unreachable_hosts_are_not_rescued(monkeypatch: pytest.MonkeyPatch) -> None:
    Hosts(monkeypatch, m={}, a={})
    with pytest.raises(BackupError, match="all of its hosts are unreachable"):
        snapshots.newest(STATE)


def test_before_a_change_only_a_member_that_serves_gives_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(snapshots.logger, "error", logged.append)
    hosts = Hosts(monkeypatch, m=SILENT, a=SILENT)
    change: Any = SimpleNamespace(name="m")
    assert snapshots._snapshot(STATE, change, "another version of etcd on m") is False
    assert logged == [
        "etcd: no quorum answers (m, a); start its members, and leave --limit out",
        "m: has to wait for a snapshot of etcd (another version of etcd on m); repair that, then run again",
    ]
    assert stopped(hosts) == []


@pytest.mark.parametrize(
    ("state", "recent"),
    [
        ("", True),
        ("touch -d '2 days ago' timer; touch one.db", True),
        ("touch -d '2 days ago' timer one.db; touch two.db", True),
        # a new member, or one that returned
        ("touch timer", True),
        ("touch timer; touch -d '2 days ago' one.db", True),
        ("touch -d '2 days ago' timer one.db", False),
        ("touch -d '2 days ago' timer; touch .new.db", False),
        ("touch -d '2 days ago' timer", False),
        ("touch timer one.db failed", False),
    ],
)
def test_a_snapshot_is_overdue_if_it_failed_or_is_older_than_two_periods(
    tmp_path: Path, state: str, recent: bool
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text(f"#!/bin/sh\n[ -e {tmp_path}/failed ]\n")
    (tmp_path / "bin/systemctl").chmod(0o755)
    script = snapshots._RECENT.replace("/var/lib/etcd-snapshots", f"{tmp_path}/")
    script = script.replace(f"/etc/systemd/system/{TIMER}", f"{tmp_path}/timer")
    path = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", f"cd {tmp_path}; {state}\n{script}"], env=path, check=False)
    assert (done.returncode == 0) is recent


def test_a_deploy_takes_an_overdue_snapshot_and_no_other(commands: Commands) -> None:
    [take] = commands(snapshots, "catch_up", {Look: Described(conditions={"recent snapshot": False})})
    assert "systemctl start etcd-snapshot.service" in take
    assert commands(snapshots, "catch_up", {Look: Described(conditions={"recent snapshot": True})}) == []


# The arguments tell whether the member itself is asked, or the others.
ETCDCTL = """#!/bin/sh
case "$*" in
*"endpoint health"*) echo "a member has an alarm" >&2; exit 1 ;;
*127.0.0.1*"get health"*) {own} ;;
*"get health"*) {others} ;;
*"endpoint status"*) echo '[{{"Status":{{"header":{{"member_id":1}},"leader":1,"dbSize":1,"raftIndex":5}}}}]' ;;
esac
"""
BAD = """echo '{"error":"handshake failed: tls: failed to verify certificate: x509: certificate has expired\\\\""}' >&2
echo 'Error: context deadline exceeded' >&2; exit 1"""


@pytest.mark.parametrize(
    ("own", "others", "seen"),
    [
        ("exit 0", "exit 1", MemberSeen(serves=True, reached=(0, 5))),
        ("echo 'a warning' >&2", "exit 1", MemberSeen(serves=True, reached=(0, 5))),
        ("echo 'no leader' >&2; exit 1", "exit 1", MemberSeen(said="no leader", reached=(0, 5))),
        ("echo 'no leader' >&2; exit 1", "exit 0", MemberSeen(elsewhere=True, said="no leader", reached=(0, 5))),
        (
            BAD,
            "exit 1",
            MemberSeen(said="tls: failed to verify certificate: x509: certificate has expired", reached=(0, 5)),
        ),
    ],
)
def test_a_look_finds_the_members_that_serve_with_or_without_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, others: str, seen: MemberSeen
) -> None:
    etcdctl = tmp_path / "etcdctl"
    etcdctl.write_text(ETCDCTL.format(own=own, others=others))
    etcdctl.chmod(0o755)
    scripts: list[str] = []
    hosts = Hosts(monkeypatch, m={})
    monkeypatch.setattr(hosts, "_ask", None)

    def ask(_host: Any, script: str, _patience: int = 0) -> tuple[bool, CommandOutput]:
        scripts.append(script.replace("/opt/kubekeel/bin/etcdctl", str(etcdctl)).replace("+ 20", "+ 0"))
        return True, CommandOutput([])

    monkeypatch.setattr(snapshots, "ask", ask)
    snapshots._look(STATE)
    done = subprocess.run(["sh", "-c", scripts[0]], capture_output=True, text=True, check=True)
    assert read(done.stdout.splitlines()) == seen
