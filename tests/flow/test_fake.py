"""The fake hosts of these tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.flow.fake import environment


def test_fake_hosts_answer_at_once(tmp_path: Path) -> None:
    delays = "from pyinfra.connectors import fake; print(fake.DEFAULT_DELAY, fake.DEFAULT_DELAY_JITTER)"
    done = subprocess.run(
        [sys.executable, "-c", delays], env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0.0", "0.0"]
