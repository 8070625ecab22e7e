"""A run shows what each host waits for: in place on a terminal, else in lines."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.flow.fake import CONFIG, PROJECT, PYINFRA, command, environment

DEPLOY = """
from pyinfra.api import StringCommand, operation
from operations.wait import reported
from tasks import preflight

preflight.check()


@operation()
def wait():
    yield from reported("kubelet", StringCommand("true"))


wait(name="wait")
"""
HOSTS = """
etcd = masters = [_host("m", 1)]
minions = [_host("a", 2)]
"""


def waiting(home: Path, config: str = "", **environ: str) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment of a run in which each host waits for half a second."""
    (home / "config.py").write_text(f"{CONFIG}\n{config}")
    (home / "deploy.py").write_text(DEPLOY)
    words = command(home, HOSTS, "--data", "artifact_source=source")
    return [*PYINFRA, *words], {**environment(home), "PYINFRA_FAKE_DELAY": "0.5", **environ}


def on_terminal(home: Path) -> str:
    """Return everything that a run prints on a terminal."""
    words, environ = waiting(home, PYINFRA_PROGRESS="on")
    ours, theirs = (os.fdopen(end, mode, buffering=0) for end, mode in zip(pty.openpty(), ("rb", "wb"), strict=True))
    output = b""
    with ours, subprocess.Popen(words, cwd=PROJECT, env=environ, stdout=theirs, stderr=theirs) as run:
        theirs.close()
        # After the run has ended, reading the terminal fails.
        with suppress(OSError):
            while piece := ours.read(1 << 16):
                output += piece
    assert run.returncode == 0, output.decode()
    return output.decode()


def test_a_terminal_shows_a_line_for_each_waiting_host_until_its_wait_ends(tmp_path: Path) -> None:
    output = on_terminal(tmp_path)
    waits = [rf"    \[@fake/{name}\] has waited \d+ s for kubelet\x1b\[K\r" for name in ("m", "a")]
    assert re.search("\n".join(waits) + r"\x1b\[2A", output)
    after = output.rpartition("has waited")[2].partition("\x1b[J")[2]
    assert after.count("\x1b[32mSuccess") == 2


def test_a_run_without_a_terminal_says_now_and_then_that_hosts_wait(tmp_path: Path) -> None:
    words, environ = waiting(tmp_path, config="from run import waits\nwaits._REPORT_SECONDS = 0.2")
    done = subprocess.run(
        words, cwd=PROJECT, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    for name in ("m", "a"):
        assert re.search(rf"\[@fake/{name}\] +has waited 0.2 s for kubelet\n", done.stderr), done.stderr
    assert "Traceback" not in done.stderr
