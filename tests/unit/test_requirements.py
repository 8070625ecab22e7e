"""What installs Python packages is pinned: both ways that README names, and the lab's own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from lab import bootstrap
from lab.shape import PROJECT


def test_both_ways_install_the_same_packages() -> None:
    """requirements.txt is the output of `uv export` for uv.lock; its first lines name the command."""
    requirements = (PROJECT / "requirements.txt").read_text()
    command = re.findall(r"^# +uv (export .*) -o requirements\.txt$", requirements, re.MULTILINE)[0].split()
    uv = shutil.which("uv") or str(PROJECT / ".venv/bin/uv")
    made = subprocess.run([uv, *command, "--quiet"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert pins(made) == pins(requirements)
    assert "--hash=sha256:" in requirements


def test_the_lab_installs_uv_by_version_and_hash() -> None:
    options, file = bootstrap.UV[:-1], Path(bootstrap.UV[-1])
    assert "--require-hashes" in options
    listed = re.sub(r"^#.*\n| +\\\n +", "", file.read_text(), flags=re.MULTILINE)
    assert re.fullmatch(r"uv==[0-9.]+(--hash=sha256:[0-9a-f]{64})+\n", listed)


def pins(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
