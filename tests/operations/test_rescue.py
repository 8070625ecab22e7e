"""The script that takes a snapshot without quorum: after any failure etcd starts again, and no copy is left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = (Path(__file__).resolve().parents[2] / "files/etcd/rescue-snapshot.sh").read_text()

COMMANDS = {
    "systemctl": 'echo "$*" >>{home}/systemd',
    "chown": "true",
    "setpriv": "while :; do case $1 in -*) shift ;; *) break ;; esac; done; exec $*",
    "etcd": "echo started >&2; exec /bin/sleep 60",
    # Its last argument is the file to write.
    "etcdctl": 'case "$*" in *"snapshot save"*) for last; do :; done; echo sound >"$last" ;; esac',
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a host with data of etcd, and with commands that a test can replace."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "data/member/snap").mkdir(parents=True)
    (tmp_path / "data/member/wal").mkdir()
    (tmp_path / "data/member/snap/db").write_bytes(b"bolt" * 1000)
    (tmp_path / "snapshots").mkdir()
    for name, text in COMMANDS.items():
        command(tmp_path, name, text)
    return tmp_path


def command(home: Path, name: str, text: str) -> None:
    path = home / "bin" / name
    path.write_text(f"#!/bin/sh\n{text.replace('{home}', str(home))}\n")
    path.chmod(0o755)


def script(home: Path) -> str:
    places = {
        "/opt/kubekeel/bin": f"{home}/bin",
        "/var/lib/etcd-snapshots": f"{home}/snapshots",
        "/var/lib/etcd\n": f"{home}/data\n",
        "data=/var/lib/etcd ": f"data={home}/data ",
    }
    text = SCRIPT
    for place, copy in places.items():
        text = text.replace(place, copy)
    assert "/var/lib" not in text
    return text


def rescue(home: Path, shell: str = "sh") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{home}/bin:{os.environ['PATH']}"}
    return subprocess.run(
        [shell, "-c", script(home)], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def systemd(home: Path) -> list[str]:
    return (home / "systemd").read_text().splitlines()


def test_a_snapshot_of_a_copy_is_taken_and_etcd_starts_again(home: Path) -> None:
    done = rescue(home)
    assert done.returncode == 0, done.stderr
    (snapshot,) = (home / "snapshots").iterdir()
    assert done.stdout == f"{snapshot}\n"
    assert snapshot.read_text() == "sound\n"
    assert snapshot.name.endswith("-rescued.db")
    assert systemd(home) == ["stop etcd.service", "start --no-block etcd.service"]
    assert (home / "data/member/snap/db").read_bytes() == b"bolt" * 1000


def test_an_alarm_in_the_copy_does_not_make_the_rescue_fail(home: Path) -> None:
    # While etcd has an alarm, `endpoint health` fails for every member; etcd answers all requests but writes.
    command(home, "etcdctl", f'case "$*" in *"endpoint health"*) exit 1 ;; esac; {COMMANDS["etcdctl"]}')
    done = rescue(home)
    assert done.returncode == 0, done.stderr


FAILING = {
    "systemd cannot stop etcd": ("systemctl", 'echo "$*" >>{home}/systemd; [ $1 != stop ]'),
    "the disk is full": ("cp", "mkdir -p {home}/snapshots/.rescue/member/half; echo no space left >&2; exit 1"),
    "etcd ends at once": ("etcd", "echo panic >&2; exit 2"),
    "the snapshot breaks off": ("etcdctl", 'case "$*" in *"snapshot save"*) echo broken; exit 1 ;; esac'),
}


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("case", FAILING)
def test_after_any_failure_etcd_starts_again_and_no_partial_copy_is_left(home: Path, case: str, shell: str) -> None:
    name, text = FAILING[case]
    command(home, name, text)
    if case == "etcd ends at once":
        command(home, "etcdctl", "exit 1")
    done = rescue(home, shell)
    assert done.returncode != 0
    assert done.stdout == ""
    assert systemd(home)[-1] == "start --no-block etcd.service"
    assert list((home / "snapshots").iterdir()) == []


# It answers from the given try on.
LATE = """echo >>{{home}}/tries; [ $(wc -l <{{home}}/tries) -gt {tries} ] || exit 1
""" + COMMANDS["etcdctl"].replace("{", "{{").replace("}", "}}")


@pytest.mark.parametrize(("said", "succeeds"), [("reads its data", True), ("ready to serve client requests", False)])
def test_an_etcd_that_still_reads_its_data_is_waited_for(home: Path, said: str, succeeds: bool) -> None:
    command(home, "sleep", "true")
    command(home, "etcd", f"echo {said} >&2; exec /bin/sleep 60")
    command(home, "etcdctl", LATE.format(tries=150))
    assert (rescue(home).returncode == 0) == succeeds
    assert systemd(home)[-1] == "start --no-block etcd.service"


@pytest.mark.parametrize("signal", ["HUP", "TERM"])
def test_an_interrupted_rescue_leaves_etcd_running(home: Path, signal: str) -> None:
    command(home, "cp", f"kill -{signal} $PPID; exit 0")
    rescue(home)
    assert systemd(home)[-1] == "start --no-block etcd.service"
    assert list((home / "snapshots").iterdir()) == []


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        ("rm -r data/member", "has no data of etcd; choose another member by --limit"),
        ("printf '#!/bin/sh\\necho; echo x x x 10' >bin/df; chmod +x bin/df", "has too little room for a copy of"),
    ],
)
def test_etcd_is_not_stopped_without_data_or_without_space_for_a_copy(home: Path, prepare: str, why: str) -> None:
    subprocess.run(prepare, shell=True, cwd=home, check=True)
    done = rescue(home)
    assert done.returncode == 1
    assert why in done.stderr
    assert not (home / "systemd").exists()


def test_no_other_user_of_the_host_can_reach_the_copy(home: Path) -> None:
    command(home, "etcd", 'echo "$*" >{home}/arguments; stat -c "%a %n" "$PWD" >{home}/mode; exec /bin/sleep 60')
    command(home, "etcdctl", f"[ -e {{home}}/mode ] && {COMMANDS['etcdctl']}")
    assert rescue(home).returncode == 0
    flags = dict(flag.split("=", 1) for flag in (home / "arguments").read_text().split() if "=" in flag)
    assert flags["--data-dir"] == f"{home}/snapshots/.rescue"
    assert flags["--listen-client-urls"] == "unixs://localhost:0"
    assert flags["--listen-peer-urls"] == "unix://peer:0"
    assert (home / "mode").read_text() == f"700 {home}/snapshots/.rescue\n"
