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
    """All that a terminal gets of a run."""
    (home / "config.py").write_text(CONFIG)
    (home / "deploy.py").write_text(DEPLOY)
    (home / "hosts.py").write_text(INVENTORY + HOSTS)
    ours, theirs = (os.fdopen(end, mode, buffering=0) for end, mode in zip(pty.openpty(), ("rb", "wb"), strict=True))
    command = [*PYINFRA, "-y", "--config", home / "config.py", home / "hosts.py", home / "deploy.py"]
    terminal = {**environment(home), "PYINFRA_PROGRESS": "on", "PYINFRA_FAKE_DELAY": "0.5"}
    arguments = ("--data", "artifact_source=source", "--data", f"state_dir={home}/pki")
    said = b""
    with ours, subprocess.Popen([*command, *arguments], cwd=PROJECT, env=terminal, stdout=theirs, stderr=theirs) as run:
        theirs.close()
        # A terminal that nobody writes to any more cannot be read.
        with suppress(OSError):
            while piece := ours.read(1 << 16):
                said += piece
    assert run.returncode == 0, said.decode()
    return said.decode()


def test_a_terminal_has_a_line_for_each_host_that_waits_which_goes_with_the_wait(tmp_path: Path) -> None:
    said = on_terminal(tmp_path)
    waits = [rf"    \[@fake/{name}\] has waited \d+ s for kubelet\x1b\[K\r" for name in ("m", "a")]
    assert re.search("\n".join(waits) + r"\x1b\[2A", said)
    after = said.rpartition("has waited")[2].partition("\x1b[J")[2]
    assert after.count("\x1b[32mSuccess") == 2
