"""Both ways to install that README names give the same packages."""

from __future__ import annotations

import re
import shutil
import subprocess

from lab.shape import PROJECT


def test_both_ways_install_the_same_packages() -> None:
    """requirements.txt is the output of `uv export` for uv.lock; its first lines name the command."""
    requirements = (PROJECT / "requirements.txt").read_text()
    command = re.findall(r"^# +uv (export .*) -o requirements\.txt$", requirements, re.MULTILINE)[0].split()
    uv = shutil.which("uv") or str(PROJECT / ".venv/bin/uv")
    made = subprocess.run([uv, *command, "--quiet"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert pins(made) == pins(requirements)
    assert "--hash=sha256:" in requirements


def pins(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
