"""A forked run is like one that its own command line has started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.flow import forked
from tests.flow.fake import PROJECT, PYINFRA, environment

DEPLOY = """
import json, os, signal, sys

streams = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
print(json.dumps({
    "argv": sys.argv,
    "path": sys.path,
    "folder": os.getcwd(),
    "environment": dict(os.environ),
    "group": os.getpgid(0),
    "open": sorted(os.listdir("/dev/fd")),
    "terminals": [name for name, stream in streams.items() if stream.isatty()],
    "streams": [(stream.encoding, stream.errors, stream.line_buffering) for stream in streams.values()],
    "signals": [str(signal.getsignal(number)).partition(" at ")[0] for number in (signal.SIGCHLD, signal.SIGPIPE)],
}, indent=1))
print(sys.stdin.read() or "no input", file=sys.stderr)
"""
SLOW = """
import os, pathlib, time

pathlib.Path("{pid}").write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "config.py").write_text("")
    (tmp_path / "hosts.py").write_text("hosts = ['@fake/a']")
    return ["-y", "--config", *(str(tmp_path / name) for name in ("config.py", "hosts.py", "own.py"))]


@pytest.mark.parametrize("last", ["", "sys.exit(7)", "1 / 0", "os.kill(os.getpid(), 15)"])
def test_a_forked_run_is_given_and_gives_what_a_plain_one_does(tmp_path: Path, arguments: list[str], last: str) -> None:
    (tmp_path / "own.py").write_text(f"{DEPLOY}\n{last}")
    here = environment(tmp_path)
    plain = subprocess.run(
        [*PYINFRA, *arguments],
        cwd=PROJECT, env=here, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    done = forked.run(arguments, here)
    assert '"argv"' in plain.stdout
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, plain.returncode)


def test_a_forked_run_that_takes_too_long_is_killed(tmp_path: Path, arguments: list[str]) -> None:
    pid = tmp_path / "pid"
    (tmp_path / "own.py").write_text(SLOW.format(pid=pid))
    with pytest.raises(subprocess.TimeoutExpired, match="after 10 seconds"):
        forked.run(arguments, environment(tmp_path), timeout=10)
    assert not Path("/proc", pid.read_text()).exists()
    (tmp_path / "own.py").write_text("")
    assert forked.run(arguments, environment(tmp_path)).returncode == 0
