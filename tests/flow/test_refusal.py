"""Runs with the project's config and preflight: they name all faults of all hosts at once, or continue."""

from __future__ import annotations

import fcntl
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from kubekeel.pki import Pki
from run.choices import ACTIONS
from tests.flow.fake import CONFIG, FIT_HOSTS, PROJECT, deploy
from tests.flow.servers import listening, ssh_listening
from tests.hosts import cluster

DEPLOY = """
from pyinfra.operations import server
from tasks import preflight

preflight.check()
server.shell(name="a change", commands=["touch /changed"])
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a user's folder outside the project."""
    (tmp_path / "deploy.py").write_text(DEPLOY)
    (tmp_path / "config.py").write_text(CONFIG)
    return tmp_path


def assert_refused(done: subprocess.CompletedProcess[str], *faults: str) -> None:
    """Assert that exactly these faults refused the run, in this order, before any operation."""
    lines = [line.strip() for line in done.stderr.splitlines() if "); " in line]
    assert len(lines) == len(faults), done.stderr
    for line, fault in zip(lines, faults, strict=True):
        assert line.startswith(fault)
    assert done.returncode == 1
    assert "a change" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
def web_port() -> Iterator[int]:
    """Yield a port that answers, but not as an SSH server."""

    def refuse(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        connection.close()

    with listening(refuse) as port:
        yield port


@pytest.fixture
def ssh_port() -> Iterator[int]:
    with ssh_listening() as server:
        yield server.port


def test_a_run_continues_on_fit_hosts(home: Path) -> None:
    done = deploy(home, FIT_HOSTS)
    assert done.returncode == 0, done.stderr
    assert "Starting operation: a change" in done.stderr
    assert re.search(r"Grand total +3 +3 +- +-", done.stderr), done.stderr


@pytest.mark.parametrize("options", [(), ("--dry",)])
def test_every_fault_of_every_host_is_in_one_list_and_nothing_is_done(
    home: Path, closed_port: int, ssh_port: int, options: tuple[str, ...]
) -> None:
    hosts = f"""
_no_root = {{"_answers": {{"/proc/swaps": {{"success": False, "stderr": "sudo: a password is required"}}}}}}
etcd = masters = [_host("m", 1, "swap /dev/sda2, 7 MiB\\nmemory 900\\n")]
minions = [
    _host("a", 2, "machine_id m\\n"),
    _ssh("b", 3, {closed_port}),
    _ssh("c", 4, {ssh_port}),
    _host("d", 5, **_no_root),
    _host("e", 6, "uid 1000\\n"),
]
"""
    assert_refused(
        deploy(home, hosts, *options),
        "m: has swap, and kubelet refuses to start with it (/dev/sda2, 7 MiB); ",
        "m: has less than 1700 MiB of memory (900 MiB); ",
        "b: is unreachable (Could not connect (",
        "c: refuses the login (Authentication error (username=root) (",
        "d: does not give root rights (sudo: a password is required); log in as root, or set _sudo = True and let"
        " ssh_user use sudo; where sudo asks for a password, set _sudo_password, and _temp_dir if /tmp is mounted"
        " noexec",
        "e: does not give root rights (uid 1000); ",
        "m, a: have the same machine-id (m); ",
    )


def test_another_host_key_is_refused(home: Path, ssh_port: int) -> None:
    (home / "pki").mkdir()
    known = paramiko.HostKeys()
    known.add(f"[127.0.0.1]:{ssh_port}", "ecdsa-sha2-nistp256", paramiko.ECDSAKey.generate())
    known.save(str(home / "pki" / "known_hosts"))
    done = deploy(home, f'etcd = masters = [_host("m", 1)]\nminions = [_ssh("a", 2, {ssh_port})]')
    assert_refused(done, "a: shows another host key (SSH host key error (")


def test_hosts_are_named_with_a_remedy_if_none_is_reachable(home: Path, closed_port: int) -> None:
    done = deploy(home, f'etcd = masters = [_ssh("m", 1, {closed_port})]\nminions = [_ssh("a", 2, {closed_port})]')
    assert_refused(done, "m: is unreachable (Could not connect (", "a: is unreachable (Could not connect (")


def test_a_host_without_ssh_gets_one_line_and_a_traceback_only_with_vvv(home: Path, web_port: int) -> None:
    hosts = f'etcd = masters = [_host("m", 1)]\nminions = [_ssh("a", 2, {web_port})]'
    assert_refused(deploy(home, hosts), "a: is unreachable (SSH error (Error reading SSH protocol banner")
    assert "Traceback" in deploy(home, hosts, "-vvv").stderr


def test_only_the_hosts_of_the_run_have_to_be_fit(home: Path, closed_port: int) -> None:
    hosts = f'etcd = masters = [_ssh("m", 1, {closed_port})]\nminions = [_host("a", 2), _host("b", 3, "memory 9\\n")]'
    done = deploy(home, hosts, "--limit", "@fake/a")
    assert done.returncode == 0, done.stderr
    assert re.search(r"Grand total +1 +1 +- +-", done.stderr), done.stderr


def test_preflight_and_lock_cost_each_host_two_commands(home: Path) -> None:
    (home / "deploy.py").write_text("from tasks import preflight\n\npreflight.check()\n")
    done = deploy(home, FIT_HOSTS, "-vv")
    assert done.returncode == 0, done.stderr
    for host in "mab":
        assert len(re.findall(rf"^\S*\[\S*@fake/{host}\S*\] *>>> ", done.stderr, re.MULTILINE)) == 2


# One run at a time


def test_a_second_run_is_refused_before_it_connects_and_names_the_first_one(home: Path) -> None:
    (home / "pki").mkdir()
    (home / "pki" / "run.lock").write_text("ann@desk, process 7, since noon")
    with (home / "pki" / "run.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = deploy(home, FIT_HOSTS)
        assert_refused(done, "state_dir: is locked by another run (ann@desk, process 7, since noon); wait")
        assert "Connecting" not in done.stderr
        assert deploy(home, FIT_HOSTS, "--dry").returncode == 0
    assert deploy(home, FIT_HOSTS).returncode == 0


ELSEWHERE = "place ann@desk, process 7, since noon"


def test_a_run_is_refused_if_one_from_another_place_is_active(home: Path) -> None:
    hosts = FIT_HOSTS.replace('_host("a", 2)', f'_host("a", 2, _lease={ELSEWHERE!r})')
    assert_refused(deploy(home, hosts), "a: is in use by another run (ann@desk, process 7, since noon); wait")
    assert deploy(home, hosts, "--dry").returncode == 0


OWN = """
from pyinfra.operations import server

server.shell(name="a change", commands=["touch /changed"])
"""
ARGUMENTS = {
    "add_user.py": ("--data", "user=jane"),
    "revoke.py": ("--data", "admin=true"),
    "remove_member.py": ("--data", "member=b"),
    "rotate.py": ("--data", "what=ca"),
    "remove_node.py": ("--data", "node=b"),
    "reset.py": ("--data", "confirm=kubekeel"),
    "restart_nodes.py": ("--data", "reboot=needed"),
    "restore.py": ("--data", "backup=file"),
}
FILES = {"own.py": OWN, "deploy.py": (PROJECT / "deploy.py").read_text()} | {
    path.name: path.read_text() for path in (PROJECT / "actions").glob("*.py")
}
NO_BACKUP = """
inventory.backup_of = lambda _: None
inventory._over = lambda _: {}
"""


def act(home: Path, action: str) -> subprocess.CompletedProcess[str]:
    """Run an action on hosts that are in use by another run."""
    (home / action).write_text(FILES[action])
    Pki.open(home / "pki", cluster()).save()
    (home / "config.py").write_text(CONFIG.replace("prepare()", f"{NO_BACKUP}\nprepare()"))
    hosts = FIT_HOSTS.replace(")", f", _lease={ELSEWHERE!r})")
    return deploy(home, hosts, "--data", "artifact_source=source", *ARGUMENTS.get(action, ()), file=action)


# Written here, since the table of actions is what these tests check.
LOOKS = {"audit.py", "check.py", "collect.py", "status.py", "versions.py"}


@pytest.mark.parametrize("action", sorted(FILES.keys() - LOOKS))
def test_an_action_that_may_change_hosts_is_refused_during_another_run(home: Path, action: str) -> None:
    done = act(home, action)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "operation: " not in done.stderr
    assert (
        len(re.findall(r"[mab]: is in use by another run \(ann@desk, process 7, since noon\); wait", done.stderr)) == 3
    )


@pytest.mark.parametrize("action", sorted(LOOKS))
def test_an_action_that_only_looks_may_run_during_another_run(home: Path, action: str) -> None:
    done = act(home, action)
    assert "operation: " in done.stderr
    for archive in re.findall(r"^/.*/kubekeel-logs-.*", done.stdout, re.MULTILINE):
        Path(archive).unlink()


def test_every_action_is_in_the_table_of_actions() -> None:
    assert FILES.keys() - {"own.py"} == ACTIONS.keys()
