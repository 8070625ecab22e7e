"""The promises of `python3 -m lab`, on real machines."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.keeper import find
from lab.lab import Lab
from lab.shape import PROJECT
from tests.lab_command import Command, lab_in

MASTER, MINION = "192.168.1.165", "192.168.1.166"


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab") / "lab"


@pytest.fixture(scope="session")
def lab(directory: Path) -> Iterator[Command]:
    """Yield a lab of a master and a minion, without a cluster."""
    command = lab_in(directory)
    command("up", "--no-deploy", "--minions", "1")
    yield command
    command("down")


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a refused command."""
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def boot(lab: Command, node: str) -> str:
    return lab("shell", node, "--", "cat", "/proc/sys/kernel/random/boot_id").stdout


def computer() -> dict[str, str]:
    """Return the state of this computer that a lab could change."""
    commands = [
        "ip -br address",
        "ip -br link",
        "ip -4 route show table all",
        "ip rule",
        "ip netns",
        "nft list ruleset",
        "cat /proc/self/mounts",
    ]
    seen = {
        command: subprocess.run(["sh", "-c", command], capture_output=True, text=True).stdout for command in commands
    }
    settings = Path("/proc/sys").glob("net/ipv4/*forward*")
    return {
        **seen,
        "cgroups": str(sorted(each for root in Lab.here().group.folders for each in root.parent.iterdir())),
        "settings": str([(each.name, each.read_text()) for each in settings if each.is_file()]),
    }


def test_a_lab_changes_nothing_of_the_computer_and_down_leaves_nothing(tmp_path: Path) -> None:
    lab, directory = lab_in(tmp_path / "lab"), tmp_path / "lab"
    before = computer()
    lab("up", "--no-deploy", "--minions", "0")
    during = computer()
    lab("run", "--", "sh", "-c", "sleep 1000 >/dev/null 2>&1 &")
    lab("down")
    assert computer() == before
    assert {**during, "cgroups": ""} == {**before, "cgroups": ""}
    assert not directory.exists()
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(directory) not in processes
    assert "sleep 1000" not in processes
    assert "there was no lab" in lab("down").stdout


def test_a_command_on_a_machine_keeps_arguments_input_output_and_exit_status(lab: Command) -> None:
    script = 'cat; printf "%s" "$1" >&2; exit 7'
    done = lab(
        "shell",
        "master",
        "--",
        "sh",
        "-c",
        script,
        "sh",
        "two  words; 'and $more'",
        given="input",
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "input", "two  words; 'and $more'")


def test_a_command_in_the_network_keeps_its_exit_status_and_knows_the_host_keys(
    lab: Command,
) -> None:
    assert lab("run", "--", "sh", "-c", "exit 3", check=False).returncode == 3
    strictly = "-F none -o StrictHostKeyChecking=yes -o UserKnownHostsFile=$KUBEKEEL_STATE_DIR/known_hosts"
    ssh = f"ssh {strictly} root@{MASTER} hostname"
    assert lab("run", "--", "sh", "-c", ssh).stdout == "master\n"


def test_machines_reach_each_other_and_see_only_their_own_cgroups(lab: Command) -> None:
    assert "0% packet loss" in lab("shell", "master", "--", "ping", "-c", "1", "-W", "2", MINION).stdout
    every = [lab("shell", name, "--", "cat", "/etc/machine-id").stdout for name in ("master", "minion1")]
    assert every[0] != every[1]
    mounts = "awk '$3 ~ \"^cgroup\" { print $2 }' /proc/self/mounts"
    make = f"for each in $({mounts}); do mkdir -p $each/only-here; done"
    lab("shell", "master", "--", "sh", "-c", make)
    look = "find /sys/fs/cgroup -name only-here -o -name 'kubekeel*' -o -name machine.slice"
    assert lab("shell", "minion1", "--", "sh", "-c", look).stdout == ""
    assert lab("shell", "master", "--", "sh", "-c", look).stdout.count("only-here") >= 1


def test_a_machine_cannot_change_settings_of_the_whole_computer(lab: Command) -> None:
    file = "/proc/sys/vm/panic_on_oom"
    before = Path(file).read_text()
    changed = "0" if before.strip() == "1" else "1"
    done = lab(
        "shell",
        "master",
        "--",
        "sh",
        "-c",
        f"echo {changed} > {file}; cat {file}; echo 3 > /proc/sys/vm/swappiness",
        check=False,
    )
    assert done.stdout == f"{changed}\n"
    assert "Read-only" in done.stderr
    assert Path(file).read_text() == before


@pytest.mark.usefixtures("lab")
def test_machines_of_several_labs_have_enough_inotify_instances() -> None:
    assert int(Path("/proc/sys/fs/inotify/max_user_instances").read_text()) >= 1024


def test_up_again_leaves_running_machines_alone(lab: Command) -> None:
    before = boot(lab, "master")
    lab("up", "--no-deploy")
    assert boot(lab, "master") == before


def test_a_stopped_machine_is_off_and_comes_back_with_its_disk(lab: Command) -> None:
    lab("shell", "minion1", "--", "sh", "-c", "echo kept > /root/kept; ln -s x /var/lib/containerd/kept")
    before = boot(lab, "minion1")
    lab("stop", "minion1")
    assert [line.split()[2] for line in lab("status").stdout.splitlines()] == ["on", "off"]
    assert "is off" in refusal(lab("shell", "minion1", "--", "true", check=False))
    lab("stop", "minion1")
    lab("start", "minion1")
    assert (
        lab("shell", "minion1", "--", "sh", "-c", "cat /root/kept; readlink /var/lib/containerd/kept").stdout
        == "kept\nx\n"
    )
    assert boot(lab, "minion1") != before
    again = {name: boot(lab, name) for name in ("master", "minion1")}
    lab("restart", "master", "minion1")
    assert all(boot(lab, name) != again[name] for name in again)


def test_up_repairs_a_lab_whose_keeper_was_killed(lab: Command, directory: Path) -> None:
    lab("shell", "master", "--", "touch", "/root/mine")
    keeper = find(Lab(directory).group)
    assert keeper
    os.kill(keeper.pid, signal.SIGKILL)
    while Path(f"/proc/{keeper.pid}").exists():
        time.sleep(0.05)
    assert "not running" in refusal(lab("status", check=False))
    lab("up", "--no-deploy")
    lab("shell", "master", "--", "test", "-e", "/root/mine")
    lab("shell", "minion1", "--", "true")


def test_a_lab_may_grow_but_not_shrink(lab: Command) -> None:
    before = boot(lab, "master")
    lab("up", "--no-deploy", "--masters", "2", "--minions", "1")
    assert boot(lab, "master") == before
    assert lab("shell", "master2", "--", "hostname", "-I").stdout.split()[0] == "192.168.1.168"
    assert "down" in refusal(lab("up", "--no-deploy", "--minions", "0", check=False))


def test_two_labs_run_side_by_side(lab: Command, tmp_path: Path) -> None:
    other = lab_in(tmp_path / "other")
    other("up", "--no-deploy", "--minions", "0")
    try:
        assert boot(other, "master") != boot(lab, "master")
        other("shell", "master", "--", "poweroff", "-f", check=False)
        lab("shell", "master", "--", "true")
    finally:
        other("down")
    lab("shell", "master", "--", "true")


@pytest.mark.usefixtures("lab")
def test_the_relay_reaches_the_network_of_the_lab_from_outside(directory: Path) -> None:
    server = (
        "import socket; s = socket.create_server(('192.168.1.1', 6443)); print(flush=True); "
        "s.accept()[0].sendall(b'hello')"
    )
    keeper = Lab(directory).keeper
    far = subprocess.Popen(keeper.in_network([sys.executable, "-c", server]), stdout=subprocess.PIPE)
    assert far.stdout
    far.stdout.readline()
    with far, socket.create_server(("127.0.0.1", 0)) as listener:
        # No machine has 192.168.1.200, so the relay tries the next address.
        relay = [sys.executable, "-m", "lab.relay", str(listener.fileno()), "192.168.1.200", "192.168.1.1"]
        near = subprocess.Popen(
            keeper.in_network(relay), cwd=PROJECT, stdin=subprocess.PIPE, pass_fds=[listener.fileno()]
        )
        with near, socket.create_connection(listener.getsockname(), timeout=30) as client:
            assert client.recv(100) == b"hello"
            client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("shell", "minion9", "--", "true"), "minion9: is not a machine"),
        (("up", "--masters", "9"), "--masters: must be 1 to 3 (9)"),
        (("run",), "write `python3 -m lab run -- CMD`"),
        (("kubectl", "get", "nodes"), "there is no cluster yet"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(lab: Command, arguments: tuple[str, ...], message: str) -> None:
    assert message in refusal(lab(*arguments, check=False))


def test_without_a_lab_each_command_says_how_to_make_one(tmp_path: Path) -> None:
    lab = lab_in(tmp_path)
    for arguments in (
        ("status",),
        ("stop", "master"),
        ("shell", "master"),
        ("run", "--", "true"),
        ("kubectl", "version"),
    ):
        assert "`python3 -m lab up`" in refusal(lab(*arguments, check=False))


def test_a_missing_privilege_is_refused_in_one_line(tmp_path: Path) -> None:
    lab = lab_in(tmp_path / "lab")
    powerless = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    assert "--privileged" in refusal(lab("up", "--no-deploy", check=False, under=powerless))
    lab("down")
