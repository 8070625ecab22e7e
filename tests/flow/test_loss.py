"""A host that no longer answers, and a run that is interrupted: in the middle of a command over a real connection."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flow.fake import CONFIG, INVENTORY, PROJECT, PYINFRA, environment

QUICK = """
from run import connection

connection._INTERVAL = 0.2
"""
HOSTS = """
etcd = masters = [_host("m", 1)]
minions = [_ssh("a", 2, {port})]
"""
OWN = """
from pyinfra import host
from pyinfra.operations import server

if host.name == "a":
    server.shell(name="long", commands=["touch {mark}; sleep {seconds}"])
"""


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.flow.ssh_server"]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    yield process
    # With the commands that it still runs.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def home(tmp_path: Path, server: subprocess.Popen[str]) -> Path:
    assert server.stdout
    (tmp_path / "hosts.py").write_text(INVENTORY + HOSTS.format(port=server.stdout.readline().strip()))
    (tmp_path / "config.py").write_text(f"{CONFIG}\nlock.LEASE = {str(tmp_path / 'run/lease')!r}\n{QUICK}")
    return tmp_path


Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run(home: Path) -> Iterator[Run]:
    """Starts a run whose host `a` is busy for some seconds; it is there once the host is."""
    runs = []

    def start(*options: str, seconds: float = 1000) -> subprocess.Popen[str]:
        mark = home / "mark"
        (home / "own.py").write_text(OWN.format(mark=mark, seconds=seconds))
        given = ("--config", home / "config.py", *options, home / "hosts.py", home / "own.py")
        begun = subprocess.Popen(
            [*PYINFRA, *map(str, given), "--data", "artifact_source=source"],
            cwd=PROJECT, env=environment(home), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        runs.append(begun)
        if "-y" in options:
            wait_until(mark.exists)
        return begun

    yield start
    for each in runs:
        each.kill()
        each.communicate()


def wait_until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_host_that_is_silent_ends_its_command_and_the_run_says_what_to_do(
    run: Run, server: subprocess.Popen[str]
) -> None:
    begun = run("-y")
    # Its kernel still acknowledges what it is sent.
    server.send_signal(signal.SIGSTOP)
    _, said = begun.communicate(timeout=60)
    assert "a: is unreachable (no answer for 0.8 s); start it, or leave it out: --exclude a" in said
    assert "Traceback" not in said
    assert begun.returncode == 1


def test_a_host_that_closes_the_connection_is_named(run: Run, server: subprocess.Popen[str]) -> None:
    begun = run("-y")
    server.kill()
    _, said = begun.communicate(timeout=60)
    assert "a: is unreachable (the connection was lost); start it, or leave it out: --exclude a" in said
    assert begun.returncode == 1


def test_a_command_that_takes_long_on_a_host_that_answers_is_not_cut(run: Run) -> None:
    begun = run("-y", seconds=3)
    _, said = begun.communicate(timeout=60)
    assert re.search(r"\[a\] +Success", said), said
    assert begun.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_keeps_the_lease_of_a_busy_host_alone(run: Run, home: Path, number: signal.Signals) -> None:
    begun = run("-y", "-vv")
    begun.send_signal(number)
    _, said = begun.communicate(timeout=60)
    assert begun.returncode == 128 + number
    assert f"interrupted by {number.name}; run the same command again to continue" in said
    assert "a: may still carry out its last command; its lease ends in 30 s" in said
    assert (home / "run/lease").exists()
    assert re.search(r"\[@fake/m\].*>>>(?:(?!\[a\])[^»])*rmdir", said, re.DOTALL), said
    assert "Traceback" not in said


def test_a_run_is_interrupted_while_it_asks_whether_to_go_on(run: Run, home: Path) -> None:
    begun = run()
    assert begun.stderr
    said = ""
    while "Press enter to execute" not in said:
        said += begun.stderr.read(1)
    begun.send_signal(signal.SIGINT)
    assert begun.wait(60) == 128 + signal.SIGINT
    assert not (home / "mark").exists()
