"""A host that stops answering, and an interrupted run, in the middle of a command over a real connection."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flow.fake import CONFIG, INVENTORY, PROJECT, PYINFRA, environment, wait_until

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
    # This ends its running commands, too.
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
    """Return a function that starts a run, and waits until the run's host `a` is busy."""
    runs = []

    def start(*options: str, seconds: float = 1000) -> subprocess.Popen[str]:
        mark = home / "mark"
        (home / "own.py").write_text(OWN.format(mark=mark, seconds=seconds))
        arguments = ("--config", home / "config.py", *options, home / "hosts.py", home / "own.py")
        process = subprocess.Popen(
            [*PYINFRA, *map(str, arguments), "--data", "artifact_source=source"],
            cwd=PROJECT, env=environment(home), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        runs.append(process)
        if "-y" in options:
            wait_until(mark.exists)
        return process

    yield start
    for each in runs:
        each.kill()
        each.communicate()


def test_a_silent_host_ends_its_command_and_is_named_with_a_remedy(run: Run, server: subprocess.Popen[str]) -> None:
    process = run("-y")
    # Its kernel still acknowledges packets.
    server.send_signal(signal.SIGSTOP)
    _, output = process.communicate(timeout=60)
    assert "a: is unreachable (no answer for 0.8 s); start it, or leave it out: --exclude a" in output
    assert "Traceback" not in output
    assert process.returncode == 1


def test_a_host_that_closes_the_connection_is_named(run: Run, server: subprocess.Popen[str]) -> None:
    process = run("-y")
    server.kill()
    _, output = process.communicate(timeout=60)
    assert "a: is unreachable (the connection was lost); start it, or leave it out: --exclude a" in output
    assert process.returncode == 1


def test_a_long_command_on_a_host_that_answers_is_not_interrupted(run: Run) -> None:
    process = run("-y", seconds=3)
    _, output = process.communicate(timeout=60)
    assert re.search(r"\[a\] +Success", output), output
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_keeps_only_the_lease_of_a_busy_host(run: Run, home: Path, number: signal.Signals) -> None:
    process = run("-y", "-vv")
    process.send_signal(number)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"interrupted by {number.name}; run the same command again to continue" in output
    assert "a: may still carry out its last command; its lease ends in 30 s" in output
    assert (home / "run/lease").exists()
    assert re.search(r"\[@fake/m\].*>>>(?:(?!\[a\])[^»])*rmdir", output, re.DOTALL), output
    assert "Traceback" not in output


def test_a_run_can_be_interrupted_while_it_asks_for_confirmation(run: Run, home: Path) -> None:
    process = run()
    assert process.stderr
    output = ""
    while "Press enter to execute" not in output:
        output += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT
    assert not (home / "mark").exists()
