"""A deploy works after every way to install that README names."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.shape import PROJECT
from tests import clones
from tests.flow.fake import CONFIG, FIT_HOSTS, deploy


@pytest.mark.parametrize("way", clones.ways())
def test_a_deploy_works_after_each_way_to_install(way: str, installed: Callable[[str], Path], tmp_path: Path) -> None:
    clone = installed(way)
    (tmp_path / "config.py").write_text(CONFIG)
    options = ("--data", "artifact_source=source")
    done = deploy(tmp_path, FIT_HOSTS, *options, file=str(clone / "deploy.py"), pyinfra=clones.pyinfra(), clone=clone)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Starting operation: add-ons \| apply add-ons", done.stderr)


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
