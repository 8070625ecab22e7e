"""The look at a host, the lease of a host, and the lock of a state directory."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from pyinfra.api.exceptions import PyinfraError

from kubekeel.identity import Identity
from kubekeel.pki import Pki, Step
from kubekeel.preflight import QUEUE_MODULES, Hindrance, HostSeen, Listener, Route, Unseen
from kubekeel.render import PROJECT
from kubekeel.revocations import digest
from operations import preflight
from operations.machine import LOOK
from operations.preflight import read, refused, resources, script, unconnected
from run import lock
from run.lock import Busy, Holder, Lease, hold, lease_of, other_holder, taking
from tests.namespaces import alone
from tests.unit.keys import CLUSTER

ANN, BOB = Holder("place-of-ann", "ann@desk, process 7, since noon"), Holder("place-of-bob", "bob's, process 8")

ANSWER = ["clock 1000", "kernel Linux 6", "hostname h", "arch x86_64", "resolv_conf /etc/resolv.conf"]


@pytest.fixture
def lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "run/lease"
    monkeypatch.setattr(lock, "LEASE", str(path))
    return path


def shell(text: str) -> list[str]:
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def look(holder: Holder | None = None, late: float = 0) -> HostSeen:
    """Return root's look at this computer, from a control machine whose clock is `late` seconds behind."""
    sent = time.time()
    lines = ["uid 0" if line.startswith("uid ") else line for line in shell(script(holder, ["127.0.0.1"]))]
    seen = read(lines, sent - late, time.time() - late, holder)
    assert isinstance(seen, HostSeen)
    return seen


def seen(*lines: str, sent: float = 1000, answered: float = 1001) -> HostSeen:
    """Return a host whose clock shows 1000, and whose look printed these lines."""
    look = read([*ANSWER, "uid 0", *lines], sent, answered, None)
    assert isinstance(look, HostSeen)
    return look


def test_a_look_sees_this_computer() -> None:
    host = look()
    assert host.kernel.startswith("Linux ")
    assert host.machine.hostname == socket.gethostname()
    assert host.system != host.kernel
    assert 100 < host.machine.memory < 10_000_000
    assert host.machine.zstd == bool(shutil.which("zstd"))
    assert host.disks.keys() == {"/opt/kubekeel", "/var/lib/containerd"}
    assert all(host.disks.values())
    # A container may lack any of these.
    assert {"sed", "tar"} <= host.commands
    assert ("ss" in host.commands) == bool(shutil.which("ss"))
    assert host.machine_id == content("/etc/machine-id").strip()
    assert host.controllers >= set(content("/sys/fs/cgroup/cgroup.controllers").split())
    assert len(host.swaps) == len(Path("/proc/swaps").read_text().splitlines()) - 1
    assert host.sources == {"127.0.0.1": "127.0.0.1"}
    assert host.held_by == ""
    assert host.processors == os.cpu_count()
    assert host.off_path == frozenset()
    assert host.rooms.keys() == {"/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd", "/opt/kubekeel"}
    room = host.rooms["/opt/kubekeel"]
    assert 0 < room.free < room.size
    assert "rw" in room.options


def content(path: str) -> str:
    """Return the content of a file of this computer, empty if it has none."""
    return Path(path).read_text() if Path(path).exists() else ""


def shown(before: str, rooms: list[str]) -> HostSeen:
    """Return a look at resources after the commands `before`, with separate mounts."""
    command = f"{before}\n{resources(rooms, QUEUE_MODULES)}"
    apart = [*alone("mount"), "sh", "-c", command]
    return seen(*subprocess.run(apart, capture_output=True, text=True, check=False).stdout.splitlines())


def test_a_look_finds_the_file_system_of_a_future_folder(tmp_path: Path) -> None:
    folder = tmp_path / "var/lib/containerd"
    mount = f"mount -t tmpfs -o size=64m,nr_inodes=1000,noexec,nosuid none {tmp_path}"
    room = shown(mount, [str(folder)]).rooms[str(folder)]
    assert (room.size, room.kind, room.inodes, room.typeless) == (64, "tmpfs", 1000, False)
    assert room.free_inodes < 1000
    assert {"rw", "noexec", "nosuid"} <= room.options


def test_a_look_finds_an_xfs_without_ftype(tmp_path: Path) -> None:
    tool = tmp_path / "xfs_info"
    tool.write_text("#!/bin/sh\necho 'naming   =version 2              bsize=4096   ascii-ci=0, ftype=0'\n")
    tool.chmod(0o755)
    before = f"PATH={tmp_path}:$PATH; stat() {{ command stat \"$@\" | sed 's/[^ ]*$/xfs/'; }}"
    assert shown(before, [str(tmp_path)]).rooms[str(tmp_path)].typeless


def test_a_look_finds_read_only_folders() -> None:
    assert (
        "/usr/local" in shown("mount --bind /usr/local /usr/local; mount -o remount,bind,ro /usr/local", []).read_only
    )
    assert shown("true", []).read_only == frozenset()


def test_a_look_finds_commands_off_the_path_of_the_login() -> None:
    assert shown("login_path=/nowhere", []).off_path >= {"/usr/bin/tar", "/usr/bin/find"}


@pytest.mark.parametrize(
    ("symbols", "lacking"),
    [("t nft_queue_eval\nt nfnetlink_queue_init", set()), ("t nfnetlink_queue_init", {"nft_queue"})],
)
def test_a_look_finds_modules_that_the_kernel_cannot_load(tmp_path: Path, symbols: str, lacking: set[str]) -> None:
    built_in = tmp_path / "kallsyms"
    built_in.write_text(f"{symbols}\n")
    alone = f"mount -t tmpfs none /sys/module; mount --bind {built_in} /proc/kallsyms; uname() {{ echo none; }}"
    assert shown(alone, []).modules_lacking == lacking


def test_a_look_finds_the_marks_of_former_parts(tmp_path: Path) -> None:
    there = tmp_path / "admin.conf"
    there.touch()
    gone = tmp_path / "sa.key"
    lines = shell(script(None, [], [str(there), str(gone)]))
    assert [line for line in lines if line.startswith("leftover")] == [f"leftover {there}"]


def test_a_look_finds_listening_processes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (listener,) = (listener for listener in look().listeners if listener.port == port)
    assert (listener.address, listener.ours) == ("127.0.0.1", False)
    assert listener.process.endswith(f", process {os.getpid()}")


def test_a_right_clock_is_not_off_even_if_the_answer_is_slow() -> None:
    assert look().clock_off == 0
    assert seen(sent=980, answered=1030).clock_off == 0


@pytest.mark.parametrize("off", [100, -100])
def test_a_clock_is_off_by_what_the_round_trip_does_not_explain(off: int) -> None:
    started = time.monotonic()
    found = look(late=off).clock_off
    # The look may have read the clock at any moment of it.
    assert abs(off) - (time.monotonic() - started) - 1 <= abs(found) <= abs(off) + 1
    assert found * off >= 0
    assert seen(sent=990, answered=995).clock_off == 5
    assert seen(sent=1011, answered=1020).clock_off == -10


def test_the_output_of_a_host_is_read() -> None:
    host = seen(
        "system Some Linux",
        "systemd 252",
        "controllers cpu memory",
        "command tar",
        "command ip",
        "swap /dev/sda2, 2047 MiB",
        "memory 2000",
        "disk /opt/kubekeel 7",
        'listener LISTEN 0 128 *:10250 *:* users:(("kubelet",pid=12,fd=6),("kubelet",pid=13,fd=6))',
        'listener LISTEN 0 5 [::]:80 [::]:* users:(("a b",pid=14,fd=5))',
        "listener LISTEN 0 64 0.0.0.0:2049 0.0.0.0:*",
        "listener ",
        "ours 12",
        'addresses [{"addr_info":[{"local":"127.0.0.1","scope":"host"}]},'
        '{"addr_info":[{"local":"192.0.2.1","scope":"global"},{"local":"192.0.2.9","scope":"global"}]}]',
        'routes [{"dst":"default","gateway":"192.0.2.254","dev":"eth0"},{"dst":"192.0.2.0/24","dev":"eth0"},'
        '{"type":"blackhole","dst":"10.1.0.0/16"},{"type":"local","dst":"192.0.2.1","dev":"eth0","table":"local"},'
        '{"dst":"10.9.9.9","gateway":"192.0.2.7","dev":"eth0"}]',
        "astray /var/lib/etcd /data/etcd",
        "installed",
        "leftover /etc/kubernetes/admin.conf",
        "leftover /opt/kubekeel/bin/kubelet",
        "balanced 192.0.2.1:6443,192.0.2.2:6443",
    )
    assert host.leftovers == {"/etc/kubernetes/admin.conf", "/opt/kubekeel/bin/kubelet"}
    assert host.balanced == {"192.0.2.1", "192.0.2.2"}
    assert host.astray == {"/var/lib/etcd": "/data/etcd"}
    assert (host.system, host.systemd, host.machine.memory) == ("Some Linux", 252, 2000)
    assert host.controllers == {"cpu", "memory"}
    assert host.commands == {"tar", "ip"}
    assert host.swaps == ("/dev/sda2, 2047 MiB",)
    assert host.disks == {"/opt/kubekeel": 7}
    assert host.listeners == (
        Listener("*", 10250, "kubelet, process 12", ours=True),
        Listener("[::]", 80, "a b, process 14"),
        Listener("0.0.0.0", 2049, "no process of this host"),
    )
    assert host.addresses == {"192.0.2.1", "192.0.2.9"}
    assert host.routes == (
        Route(IPv4Network("192.0.2.0/24"), "eth0"),
        Route(IPv4Network("10.1.0.0/16"), ""),
        Route(IPv4Network("10.9.9.9/32"), "eth0", "192.0.2.7"),
    )
    assert host.installed


def test_versions_of_other_programs_services_are_ignored() -> None:
    host = seen("runs kubelet v1.30.0", "runs etcd v3.7.3", "foreign_unit kubelet.service /usr/lib/x/kubelet.service")
    assert host.runs == {"etcd": "v3.7.3"}


def test_missing_values_are_read_as_nothing() -> None:
    host = seen("systemd ", "addresses ", "routes ", "memory ", "disk /opt/kubekeel ")
    assert (host.systemd, host.machine.memory, host.disks) == (0, 0, {"/opt/kubekeel": 0})
    assert not host.addresses
    assert not host.routes


@pytest.mark.parametrize("module_is_loaded", [False, True])
def test_the_right_to_set_conntrack_limits_is_known_before_its_module_is_loaded(
    tmp_path: Path, module_is_loaded: bool
) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core/rmem_max").touch()
    if module_is_loaded:
        (tmp_path / "netfilter").mkdir()
        (tmp_path / "netfilter/nf_conntrack_max").touch()
    assert "conntrack_limits" in shell(LOOK.replace("/proc/sys/net/", f"{tmp_path}/"))


def test_a_user_without_root_rights_is_detected() -> None:
    look = read([*ANSWER, "uid 1000"], 1000, 1001, None)
    assert look == Unseen(Hindrance.ROOT, "uid 1000")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("SSH error (Incompatible ssh peer (no acceptable kex algorithm))", Hindrance.ALGORITHMS),
        ("SSH error (Error reading SSH protocol banner)", Hindrance.AWAY),
        ("Authentication error (password)", Hindrance.LOGIN),
        ("Could not connect (timed out)", Hindrance.AWAY),
    ],
)
def test_the_cause_of_a_missing_connection_follows_from_the_error_of_pyinfra(error: str, why: Hindrance) -> None:
    assert unconnected(error) is why


# The first error is from tcsh.
@pytest.mark.parametrize(("error", "why"), [("Unmatched '''.", Hindrance.SHELL), ("sudo: no", Hindrance.ROOT)])
def test_the_cause_of_a_refused_command_follows_from_the_error_of_the_host(error: str, why: Hindrance) -> None:
    assert refused(error) is why


@pytest.mark.parametrize(
    ("etcdctl", "earlier", "members", "why"),
    [
        ("""echo '{"header": {}, "members": []}'""", 0, True, ""),
        ("echo '{\"level\": \"warn\"}' >&2; echo 'Error: context deadline exceeded' >&2; exit 1", 0, False,
         "context deadline exceeded, after 5 s"),
        ("echo Error: $6 >&2", 3, False, "--command-timeout=35s, after 35 s"),
        ("echo Error: $6 >&2", 300, False, "--command-timeout=60s, after 60 s"),
        ("kill -9 $$", 0, False, "no answer, after 5 s"),
    ],
)  # fmt: skip
def test_a_look_asks_for_members_longer_on_a_slow_host_and_says_why_it_does_not_know_them(
    tmp_path: Path, etcdctl: str, earlier: int, members: bool, why: str
) -> None:
    program, key, uptime = tmp_path / "etcdctl", tmp_path / "root.key", tmp_path / "uptime"
    program.write_text(f"#!/bin/sh\n{etcdctl}\n")
    program.chmod(0o755)
    key.touch()
    uptime.write_text("1000.00 1.00\n")
    part = preflight._MEMBERS.replace("/opt/kubekeel/bin/etcdctl", str(program)).replace("/proc/uptime", str(uptime))
    part = part.replace("/etc/etcd/pki/root.key", str(key))
    lines = shell(f"began={1000 - earlier}.00\n{{ {part}\n}} 2>/dev/null")
    assert any(line.startswith("members {") for line in lines) == members
    host = seen(*(line for line in lines if not line.startswith("members ")))
    assert host.etcd_keys
    assert host.no_members == ("no answer, after 5 s" if members else why)


def test_members_that_a_look_knows_need_no_reason() -> None:
    host = seen("etcd_keys 5", 'members {"members": [{"ID": 1, "peerURLs": ["https://192.0.2.1:2380"]}]}')
    assert host.members
    assert host.no_members == ""


@pytest.mark.parametrize(
    ("lines", "error"), [([], "no output"), (["This account is closed."], "This account is closed.")]
)
def test_an_answer_without_facts_is_named(lines: list[str], error: str) -> None:
    assert read(lines, 0, 1, None) == Unseen(Hindrance.SILENT, error)


LATE = """
# net.ipv4.ip_forward = 2
; net.ipv4.ip_forward = 3
-net/ipv4/ip_forward=0
  vm.overcommit_memory   =  2\t
"""


@pytest.mark.parametrize("default", [True, False])
def test_a_look_finds_whether_a_host_has_a_route_to_services(default: bool) -> None:
    network = "ip link add lan type veth peer name other && ip address add 192.0.2.1/24 dev lan && ip link set lan up"
    route = "ip route add default dev lan" if default else "true"
    lines = f"{network} && {route} && {script(None, [], services='10.96.0.1')}"
    done = subprocess.run([*alone("net"), "sh", "-c", lines], capture_output=True, text=True, check=False)
    assert "hostname" in done.stdout
    assert ("no_route_to_services" in done.stdout.splitlines()) != default


def test_a_look_finds_settings_in_files_that_are_read_after_kubekeel_s(tmp_path: Path) -> None:
    for name in ("sysctl.conf", "sysctl.d/99-database.conf", "sysctl.d/zz-kubekeel.conf", "sysctl.d/zzz.conf"):
        file = tmp_path / "etc" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(LATE)
    there = script(None, ()).replace("/etc/sysctl", f"{tmp_path}/etc/sysctl")
    settings = [line.removeprefix("late_setting ") for line in shell(there) if line.startswith("late_setting ")]
    assert [line for line in settings if str(tmp_path) in line] == [
        f"{tmp_path}/etc/{name} {setting}"
        for name in ("sysctl.d/zzz.conf", "sysctl.conf")
        for setting in ("net.ipv4.ip_forward 0", "vm.overcommit_memory 2")
    ]
    lines = ("/etc/sysctl.d/zzz.conf kernel.core_pattern a b", "/x kernel.panic 0", "/x kernel.core_pattern ")
    host = seen(*(f"late_setting {line}" for line in lines))
    assert [setting.value for setting in host.late_settings] == ["a b", "0", ""]


# The lease of a host


def taken_by(holder: Holder) -> str:
    """Return the holder of the lease after `holder` has tried to take it."""
    return lease_of(shell(taking(holder)))


def test_a_look_takes_the_lease_or_names_its_holder(lease: Path) -> None:
    assert look(ANN).held_by == ""
    assert lease.read_text().splitlines()[0] == "place-of-ann ann@desk, process 7, since noon"
    assert look(BOB).held_by == "ann@desk, process 7, since noon"
    assert look().held_by == ""


@pytest.mark.usefixtures("lease")
def test_a_second_run_from_another_place_does_not_get_the_lease() -> None:
    assert taken_by(ANN) == ANN.line
    assert taken_by(BOB) == ANN.line
    assert other_holder(ANN.line, BOB) == ANN.words
    assert other_holder(ANN.line, ANN) == ""


def test_a_lease_is_renewed_by_its_holder(lease: Path) -> None:
    assert taken_by(ANN) == ANN.line
    os.utime(lease, (0, 0))
    assert taken_by(ANN) == ANN.line
    assert lease.stat().st_mtime > 0


def test_a_dead_holder_s_lease_is_taken_over_once_it_is_old(lease: Path) -> None:
    assert taken_by(ANN) == ANN.line
    grow_old(lease, 20)
    assert taken_by(BOB) == ANN.line
    grow_old(lease, 32)
    assert taken_by(BOB) == BOB.line


def grow_old(lease: Path, seconds: int) -> None:
    """Let a lease be older by these seconds of the host's uptime."""
    line, since = lease.read_text().splitlines()
    boot, _, up = since.partition(" ")
    lease.write_text(f"{line}\n{boot} {int(up) - seconds}\n")


@pytest.mark.parametrize("set_by", [-86400, 86400])
def test_the_age_of_a_lease_does_not_depend_on_the_clock(lease: Path, set_by: int) -> None:
    assert taken_by(ANN) == ANN.line
    os.utime(lease, (time.time() - set_by,) * 2)
    assert taken_by(BOB) == ANN.line
    grow_old(lease, 32)
    os.utime(lease, (time.time() - set_by,) * 2)
    assert taken_by(BOB) == BOB.line


def test_a_lease_from_before_a_boot_is_taken_over(lease: Path) -> None:
    lease.parent.mkdir()
    lease.write_text(f"{ANN.line}\n00000000-0000-0000-0000-000000000000 1\n")
    assert taken_by(BOB) == BOB.line


def test_a_lease_of_an_earlier_version_is_as_old_as_its_file(lease: Path) -> None:
    lease.parent.mkdir()
    lease.write_text(f"{ANN.line}\n")
    os.utime(lease, (time.time() - 20,) * 2)
    assert taken_by(BOB) == ANN.line
    os.utime(lease, (time.time() - 32,) * 2)
    assert taken_by(BOB) == BOB.line


@pytest.mark.usefixtures("lease")
def test_a_dead_holder_s_lease_is_taken_over_at_once_from_the_same_place() -> None:
    assert taken_by(ANN) == ANN.line
    next_run = replace(ANN, words="ann@desk, process 9, since one")
    assert taken_by(next_run) == next_run.line


def test_a_run_gives_back_only_its_own_lease(lease: Path) -> None:
    assert taken_by(ANN) == ANN.line
    give_back(BOB)
    assert taken_by(BOB) == ANN.line
    give_back(ANN)
    assert not lease.parent.exists()
    assert taken_by(BOB) == BOB.line


def test_giving_back_a_lease_that_a_reset_removed_does_nothing(lease: Path) -> None:
    give_back(ANN)
    assert not lease.parent.exists()


def give_back(holder: Holder) -> None:
    subprocess.run(["sh", "-c", lock._ending(holder)], check=False)


def test_a_run_that_waits_for_a_lease_gets_it_when_it_is_given_back(lease: Path) -> None:
    assert taken_by(ANN) == ANN.line
    with lease.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = subprocess.Popen(["sh", "-c", taking(BOB)], stdout=subprocess.PIPE, text=True)
        wait_for_lock(waiting.pid)
        lease.unlink()
    assert lease_of(waiting.communicate()[0].splitlines()) == BOB.line
    assert lease.read_text().splitlines()[0] == BOB.line


def wait_for_lock(shell: int) -> None:
    """Wait until a child of this shell waits for a file lock: "1: -> FLOCK ADVISORY WRITE PID ..."."""
    waiting = ""
    while not waiting:
        time.sleep(0.01)
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
        waiting = next((line[5] for line in locks if below(int(line[5]), shell)), "")


def below(process: int, ancestor: int) -> bool:
    while process > 1 and process != ancestor:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process == ancestor


@pytest.mark.usefixtures("lease")
def test_one_of_many_simultaneous_runs_gets_the_lease() -> None:
    with ThreadPoolExecutor() as pool:
        winners = set(pool.map(taken_by, [Holder(f"place-{n}", f"run {n}") for n in range(12)]))
    assert len(winners) == 1


# The lock of a state directory


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_holder", None)


def hold_elsewhere(folder: Path) -> subprocess.Popen[str]:
    code = f"import run.lock, pathlib; run.lock.hold(pathlib.Path({str(folder)!r})); print(1); input()"
    command = [sys.executable, "-u", "-c", code]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "1\n"
    return process


def test_a_lock_that_is_held_is_refused_with_its_holder(tmp_path: Path) -> None:
    with hold_elsewhere(tmp_path) as process:
        with pytest.raises(Busy, match=rf"@{socket.gethostname()}, process {process.pid}, since ") as refused:
            hold(tmp_path)
        assert refused.value.faults[0].startswith("state_dir: is locked by another run (")
        assert lock.holder() is None
        process.communicate("\n")


def test_a_killed_holder_s_lock_is_free(tmp_path: Path) -> None:
    with hold_elsewhere(tmp_path) as process:
        process.kill()
    hold(tmp_path)
    holder = lock.holder()
    assert holder
    assert f"process {os.getpid()}, since " in holder.words
    assert (tmp_path / "run.lock").read_text() == holder.words


# The leases of a run


class Here:
    """This computer as a host of a run."""

    name = "here"

    def __init__(self) -> None:
        self.connector_data: dict[str, Any] = {}


HERE: Any = Here()
RUN: Any = SimpleNamespace(
    inventory=SimpleNamespace(get_active_hosts=lambda: [HERE]), ops={HERE: {"operation"}}, failed_hosts=set()
)


@pytest.fixture
def leases(lease: Path, monkeypatch: pytest.MonkeyPatch) -> Lease:  # noqa: ARG001
    def ask_here(host: Here, script: str, patience: int = 0) -> tuple[bool, SimpleNamespace]:  # noqa: ARG001
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
        return True, SimpleNamespace(stdout_lines=done.stdout.splitlines(), stderr_lines=done.stderr.splitlines())

    monkeypatch.setattr(lock, "ask", ask_here)
    monkeypatch.setattr(lock, "_holder", ANN)
    return Lease()


def after_a_long_pause(leases: Lease) -> None:
    """Start the next operation."""
    leases.keep(HERE, time.monotonic() - 20)
    leases.operation_start(RUN, "operation")


@pytest.mark.usefixtures("lease")
def test_a_run_takes_the_leases_of_its_hosts_before_its_first_operation(leases: Lease) -> None:
    leases.operation_start(RUN, "operation")
    assert taken_by(BOB) == ANN.line


def test_a_run_that_only_looks_takes_no_lease(leases: Lease, lease: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_holder", None)
    leases.operation_start(RUN, "operation")
    assert not lease.exists()


def refusal(leases: Lease, start: Callable[[Lease], None], caplog: pytest.LogCaptureFixture) -> str:
    with pytest.raises(PyinfraError, match="faults found: 1"):
        start(leases)
    (record,) = caplog.records
    return record.getMessage()


@pytest.mark.usefixtures("lease")
def test_a_run_ends_before_its_first_operation_if_another_run_is_active(
    leases: Lease, caplog: pytest.LogCaptureFixture
) -> None:
    assert taken_by(BOB) == BOB.line
    error = refusal(leases, lambda leases: leases.operation_start(RUN, "operation"), caplog)
    assert error.startswith("here: is in use by another run (bob's, process 8); wait until that run ends")


def test_a_run_ends_if_no_lease_can_be_written(leases: Lease, lease: Path, caplog: pytest.LogCaptureFixture) -> None:
    lease.parent.parent.mkdir(exist_ok=True)
    lease.parent.write_text("in its place")
    error = refusal(leases, lambda leases: leases.operation_start(RUN, "operation"), caplog)
    assert error.startswith("here: gives no lease (")
    assert error.endswith(f"; check that root can write {lock.LEASE} there")


def test_a_run_continues_after_a_pause_with_a_renewed_lease(leases: Lease, lease: Path) -> None:
    assert taken_by(ANN) == ANN.line
    os.utime(lease, (0, 0))
    after_a_long_pause(leases)
    assert lease.stat().st_mtime > 0


@pytest.mark.usefixtures("lease")
def test_a_run_ends_if_another_one_began_during_its_pause(leases: Lease, caplog: pytest.LogCaptureFixture) -> None:
    assert taken_by(BOB) == BOB.line
    error = refusal(leases, after_a_long_pause, caplog)
    assert error.startswith("here: is now in use by another run (bob's, process 8); wait until that run ends")


def test_a_run_renews_its_lease_again_and_again_during_an_operation(
    leases: Lease, lease: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_RENEWAL", 0.01)
    leases.operation_start(RUN, "operation")
    for _ in range(2):
        os.utime(lease, (0, 0))
        with gevent.Timeout(60):
            while lease.stat().st_mtime == 0:
                gevent.sleep(0.01)
    leases.host_disconnect(RUN, HERE)


def test_a_run_gives_its_lease_back_when_it_disconnects(leases: Lease, lease: Path) -> None:
    leases.operation_start(RUN, "operation")
    leases.operation_host_start(RUN, HERE, "operation")
    leases.operation_host_success(RUN, HERE, "operation")
    leases.host_disconnect(RUN, HERE)
    assert not lease.exists()


def test_a_host_left_in_the_middle_of_an_operation_keeps_its_lease(leases: Lease, lease: Path) -> None:
    leases.operation_start(RUN, "operation")
    leases.operation_host_start(RUN, HERE, "operation")
    leases.host_disconnect(RUN, HERE)
    assert lease.read_text().splitlines()[0] == ANN.line


# The identity of a host


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the files of the example's master, with the public files of its keys."""
    shutil.copytree(PROJECT / "tests/rendered/master", tmp_path, dirs_exist_ok=True)
    pki = Pki.open(tmp_path / "nowhere", CLUSTER).with_user("jane", (), 30)
    public = {
        "ca.crt": pki.authority("ca"),
        "sa.pub": pki.rotated(["service-account"], Step.TRUST).service_account_key.cert,
        "client-ca.crt": pki.authority("ca") + pki.users_authority,
    }
    for name, content in public.items():
        (tmp_path / "etc/kubernetes/pki" / name).write_bytes(content)
    return tmp_path


def identity(root: Path) -> Identity:
    """Return the identity of a host whose files are in a folder."""
    return observed(root).identity


def observed(root: Path) -> HostSeen:
    """Return what a look sees of a host whose files are in a folder."""
    places = re.sub(r"(?<![\w.])/(etc|run|var)/", rf"{root}/\1/", (PROJECT / "files/node/identity.sh").read_text())
    return seen(*shell(f"{{ {places}\n}} 2>/dev/null; true"))


def test_a_master_shows_the_keys_that_verify_tokens_and_the_authorities_of_clients(root: Path) -> None:
    found = identity(root)
    assert len(found.service_account_keys) == 2
    assert found.client_authorities.keys() == {"ca", "users-ca"}


def test_a_master_shows_a_digest_of_its_list_of_issued_certificates(root: Path) -> None:
    assert observed(root).issued == ""
    content = Pki.open(root / "nowhere", CLUSTER).issued
    (root / "etc/kubekeel").mkdir(exist_ok=True)
    (root / "etc/kubekeel/issued").write_bytes(content)
    assert observed(root).issued == digest(content)


def test_a_host_of_an_earlier_version_shows_settings_that_cannot_change(root: Path) -> None:
    (root / "etc/kubekeel/cluster.json").unlink(missing_ok=True)
    (root / "run/flannel").mkdir(parents=True)
    subnet = "FLANNEL_NETWORK=10.240.0.0/16\nFLANNEL_SUBNET=10.240.3.1/25\nFLANNEL_MTU=1450\n"
    (root / "run/flannel/subnet.env").write_text(subnet)
    assert identity(root).networks == {
        "pod_network": "10.240.0.0/16",
        "node_subnet_length": "25",
        "service_network": "10.96.0.0/16",
        "cluster_domain": "cluster.local",
        "flannel_backend": "vxlan",
    }
    # Another program's flannel says nothing about Kubekeel's settings.
    (root / "etc/systemd/system/flanneld.service").unlink()
    assert identity(root).networks.keys() == {"service_network", "cluster_domain"}
