"""The commands that change etcd's members, in a shell, with an etcdctl that loses answers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from pyinfra.api import FunctionCommand, StringCommand

from kubekeel.parts import placeholder
from kubekeel.service import Service
from operations import converge, joining, leaving, members, wait
from operations.converge import Look, UnitSeen
from operations.joining import join
from operations.leaving import leave
from operations.members import Disk, Members, promote
from tasks.etcd import service
from tests.clusters import cluster
from tests.operations.commands import Described, Host
from tests.unit.members import BLANK, member, node, unhealthy

# It keeps the list in a file. It makes each change, but fails to answer for the first time.
ETCDCTL = """#!/bin/sh
cd "$(dirname "$0")"
for each; do shift; case "$each" in --peer-urls=*) url=${each#*=} ;; -*) ;; *) set -- "$@" "$each" ;; esac; done
case "$1 $2" in
"member list") cat list; exit ;;
"member remove") grep -q "^$3," list || exit 1; sed -i "/^$3,/d" list ;;
"member promote") sed -i "/^$3,/s/true$/false/" list ;;
"member add") ! grep -q "$url" list || exit 1; echo "id-new, unstarted, , $url, , true" >>list ;;
*) exit 1 ;;
esac
echo "$2" >>changes
[ "$(grep -cx "$2" changes)" -gt 1 ] || { echo "Error: context deadline exceeded" >&2; exit 1; }
"""


@pytest.fixture
def etcdctl(tmp_path: Path) -> Path:
    etcdctl = tmp_path / "etcdctl"
    etcdctl.write_text(ETCDCTL)
    etcdctl.chmod(0o755)
    return etcdctl


def listed(etcdctl: Path, *names: str) -> None:
    lines = (f"id-{name}, started, {name}, {member(name).peer_url}, , false\n" for name in names)
    (etcdctl.parent / "list").write_text("".join(lines))


def run(etcdctl: Path, command: str) -> None:
    script = command.replace("/opt/kubekeel/bin/etcdctl", str(etcdctl))
    assert script != command
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_member_leaves_even_if_the_answer_of_etcd_is_lost(etcdctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(etcdctl, "m", "a", "b")
    monkeypatch.setattr(leaving, "host", Host({Members: (member("m"), member("a"), unhealthy("b"))}, "m"))
    for module in (members, wait):
        monkeypatch.setattr(module, "host", Host({}, "m"))
    snapshot, removal, _disarming = leave._inner(member="b", cluster=cluster())
    assert isinstance(snapshot, FunctionCommand)
    run(etcdctl, removal.get_raw_value())
    assert "id-b" not in (etcdctl.parent / "list").read_text()
    assert (etcdctl.parent / "changes").read_text() == "remove\n"


def test_a_member_is_replaced_even_if_the_answers_of_etcd_are_lost(
    etcdctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(etcdctl, "m", "a", "b")
    existing = (member("m"), member("a"), unhealthy("b"))
    host = Host({Disk: BLANK, Members: existing, Look: Described(units={"etcd": UnitSeen()})}, "m")
    for module in (joining, members, converge, wait):
        monkeypatch.setattr(module, "host", host)
    snapshot, *rest = join._inner(service=Service("etcd", {}, "true"), node=node("b"), cluster=cluster())
    # Another member gives it, before any change.
    assert isinstance(snapshot, FunctionCommand)
    assert snapshot.args == ("a member joins etcd", "b")
    commands = [command.get_raw_value() for command in rest if isinstance(command, StringCommand)]
    changes = [command for command in commands if " member remove id-b" in command or " member add b" in command]
    [disarming] = [command for command in commands if "alarm disarm" in command]
    stop = "sh -s b"
    (start,) = (command for command in commands if "systemctl restart" in command)
    # The old member's process stops before the others change their list, and the new one starts after that.
    steps = [stop, changes[0], disarming, changes[1], start]
    assert steps == [command for command in commands if command in steps]
    for command in changes:
        run(etcdctl, command)
    assert (etcdctl.parent / "list").read_text().splitlines()[2:] == [
        f"id-new, unstarted, , {member('b').peer_url}, , true"
    ]
    assert (etcdctl.parent / "changes").read_text() == "remove\nadd\n"


ALARMED = """#!/bin/sh
cd "$(dirname "$0")"
case "$*" in
*"member list -w json") echo '{"header":{"member_id":26},"members":[{"ID":26,"name":"m"},{"ID":271,"name":"a"}]}' ;;
*"alarm list") [ -e cleared ] || cat alarms ;;
*"alarm disarm") touch cleared ;;
*"endpoint health"*) exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("raised", "cleared"),
    [
        ("", False),
        ("memberID:27 alarm:CORRUPT", True),
        ("memberID:27  alarm:NOSPACE", True),
        # etcd raises an alarm for lack of room again at the next write
        ("memberID:27 alarm:CORRUPT\nmemberID:26 alarm:NOSPACE", True),
        ("memberID:26 alarm:NOSPACE", False),
        ("memberID:271  alarm:CORRUPT", False),
        ("memberID:27 alarm:CORRUPT\nmemberID:271 alarm:CORRUPT", False),
    ],
)
def test_the_alarm_of_a_member_that_has_left_is_cleared_and_that_of_a_corrupt_one_is_not(
    etcdctl: Path, monkeypatch: pytest.MonkeyPatch, raised: str, cleared: bool
) -> None:
    etcdctl.write_text(ALARMED)
    (etcdctl.parent / "alarms").write_text(raised)
    monkeypatch.setattr(leaving, "host", Host({Members: (member("m"), member("a"), unhealthy("b"))}, "m"))
    for module in (members, wait):
        monkeypatch.setattr(module, "host", Host({}, "m"))
    *_, disarming = leave._inner(member="b", cluster=cluster())
    run(etcdctl, disarming.get_raw_value())
    assert (etcdctl.parent / "cleared").exists() is cleared


def test_a_member_serves_also_while_one_has_an_alarm(etcdctl: Path) -> None:
    etcdctl.write_text(ALARMED)
    run(etcdctl, service(placeholder(node("m"), cluster())).ready)


def test_the_others_promote_the_learner_of_a_host_and_no_other_one(etcdctl: Path) -> None:
    listed(etcdctl, "m", "a", "b")
    (etcdctl.parent / "changes").write_text("promote\n")
    learners = (etcdctl.parent / "list").read_text().replace("false", "true")
    (etcdctl.parent / "list").write_text(learners)
    run(etcdctl, promote(node("b"), cluster()))
    votes = [line.rpartition(", ")[2] for line in (etcdctl.parent / "list").read_text().splitlines()]
    assert votes == ["true", "true", "false"]
    run(etcdctl, promote(node("b"), cluster()))
    assert (etcdctl.parent / "changes").read_text() == "promote\n" * 2


@pytest.mark.parametrize(
    ("existing", "has_data"),
    [
        ("true", False),
        ("mkdir -p etcd/member/wal", False),
        ("mkdir -p etcd/member/wal; echo x >etcd/member/wal/0.wal", True),
        ("mkdir -p disk/member; echo x >disk/member/db; ln -s disk etcd", True),
        ("mkdir -p etcd disk; echo x >disk/db; ln -s ../disk etcd/member", True),
        ("mkdir -p disk; ln -s disk etcd", False),
        ("ln -s not-mounted etcd", True),
        ("mkdir etcd; ln -s not-mounted etcd/member", True),
    ],
)
def test_a_host_is_blank_only_without_data_also_behind_links(tmp_path: Path, existing: str, has_data: bool) -> None:
    script = members.ON_DISK.replace("/var/lib/etcd", f"{tmp_path}/etcd").replace(members.FIRST_START, "/nowhere")
    done = subprocess.run(
        ["sh", "-c", f"cd {tmp_path}; {existing}; {script}"], capture_output=True, text=True, check=True
    )
    assert members.read_on_disk(done.stdout.splitlines()).data is has_data


# The remains of data, before a member joins anew.


def clear_member(root: Path, mounted: str = "other") -> subprocess.CompletedProcess[str]:
    """Run what a host without data runs before it joins, while `mounted` below `root` is a mount."""
    commands = root / "bin"
    commands.mkdir()
    for name in ("systemctl", "chown"):
        (commands / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{root}/calls\n')
        (commands / name).chmod(0o755)
    (root / "mounts").write_text(f"36 35 98:0 / {root}/{mounted} rw - ext4 /dev/root rw\n")
    host = Host({Disk: BLANK, Members: (member("m"), member("a"), unhealthy("b"))}, "b")
    with pytest.MonkeyPatch.context() as patch:
        for module in (joining, members, converge, wait):
            patch.setattr(module, "host", host)
        joins = join._inner(service=Service("etcd", {}, "true"), node=node("b"), cluster=cluster())
        command = next(each for each in joins if isinstance(each, StringCommand))
    script = "\n".join(command.connector_arguments.get("_stdin", ()))
    for path, instead in (("/var/lib/etcd", f"{root}/etcd"), ("/proc/self/mountinfo", f"{root}/mounts")):
        script = script.replace(path, instead)
    path = f"{commands}:{os.environ['PATH']}"
    raw = command.get_raw_value().replace("/var/lib/etcd", f"{root}/etcd")
    return subprocess.run(
        ["sh", "-c", raw], input=script, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )


def test_the_rest_of_a_member_is_removed_before_it_joins(tmp_path: Path) -> None:
    (tmp_path / "etcd/member/wal").mkdir(parents=True)
    done = clear_member(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((tmp_path / "etcd").iterdir()) == []
    assert (tmp_path / "calls").read_text() == "systemctl stop etcd.service\n"


@pytest.mark.parametrize("mounted", [True, False])
def test_a_disk_of_a_member_stays_and_is_emptied_before_it_joins(tmp_path: Path, mounted: bool) -> None:
    (tmp_path / "etcd").mkdir()
    disk = tmp_path / "etcd/member" if mounted else tmp_path / "disk"
    (disk / "wal").mkdir(parents=True)
    if not mounted:
        (tmp_path / "etcd/member").symlink_to(disk)
    done = clear_member(tmp_path, "etcd/member")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "etcd/member").is_symlink() is not mounted
    assert list(disk.iterdir()) == []
    assert disk.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "calls").read_text().splitlines()[-1] == f"chown etcd:etcd {disk}"


def test_a_log_on_another_disk_is_emptied_before_its_member_joins(tmp_path: Path) -> None:
    (tmp_path / "etcd/member").mkdir(parents=True)
    (tmp_path / "disk/old").mkdir(parents=True)
    (tmp_path / "disk/old/0.wal").write_text("log")
    (tmp_path / "etcd/member/wal").symlink_to(tmp_path / "disk/old")
    assert clear_member(tmp_path).returncode == 0
    assert list((tmp_path / "disk/old").iterdir()) == []
    assert list((tmp_path / "etcd").iterdir()) == []


def test_a_mount_below_a_members_data_is_named_before_it_joins(tmp_path: Path) -> None:
    log = tmp_path / "etcd/member/wal"
    log.mkdir(parents=True)
    done = clear_member(tmp_path, "etcd/member/wal")
    assert done.returncode == 1
    place = f"{tmp_path}/etcd/member"
    complaint = f"b: cannot join etcd while volumes are mounted below {place} ({log}); unmount them, then deploy again"
    assert done.stdout == f"{complaint}\n"
    assert log.is_dir()
