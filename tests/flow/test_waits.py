"""A run on a terminal shows what each host waits for, in place."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.flow.fake import CONFIG, INVENTORY, PROJECT, PYINFRA, environment

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


def on_terminal(home: Path) -> str:
    """Return everything that a run prints on a terminal."""
    (home / "config.py").write_text(CONFIG)
    (home / "deploy.py").write_text(DEPLOY)
    (home / "hosts.py").write_text(INVENTORY + HOSTS)
    ours, theirs = (os.fdopen(end, mode, buffering=0) for end, mode in zip(pty.openpty(), ("rb", "wb"), strict=True))
    command = [*PYINFRA, "-y", "--config", home / "config.py", home / "hosts.py", home / "deploy.py"]
    terminal = {**environment(home), "PYINFRA_PROGRESS": "on", "PYINFRA_FAKE_DELAY": "0.5"}
    arguments = ("--data", "artifact_source=source", "--data", f"state_dir={home}/pki")
    output = b""
    with ours, subprocess.Popen([*command, *arguments], cwd=PROJECT, env=terminal, stdout=theirs, stderr=theirs) as run:
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
