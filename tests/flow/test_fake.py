"""The fake hosts of these tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.clones import copy
from tests.flow import forked
from tests.flow.fake import CONFIG, FIT_HOSTS, PROJECT, PYINFRA, command, environment


def test_fake_hosts_answer_at_once(tmp_path: Path) -> None:
    delays = "from pyinfra.connectors import fake; print(fake.DEFAULT_DELAY, fake.DEFAULT_DELAY_JITTER)"
    done = subprocess.run(
        [sys.executable, "-c", delays], env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0.0", "0.0"]


def test_keys_of_a_configured_clone_are_left_alone(tmp_path: Path) -> None:
    """The settings of a clone may name the folder of a production cluster's keys."""
    production = tmp_path / "production"
    clone = copy(tmp_path / "clone")
    with (clone / "group_data/all.py").open("a") as settings:
        settings.write(f"state_dir = {str(production)!r}\nssh_known_hosts_file = {str(production / 'known_hosts')!r}\n")
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.py").write_text(CONFIG)
    (home / "deploy.py").write_text((PROJECT / "deploy.py").read_text())
    run = command(home, FIT_HOSTS, "--data", "artifact_source=source")
    done = subprocess.run(
        [*PYINFRA, *run], cwd=clone, env=environment(home), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (home / "pki/ca.key").exists()
    assert not production.exists()


def test_a_fact_that_nobody_described_ends_the_run(tmp_path: Path) -> None:
    home = tmp_path
    (home / "config.py").write_text(CONFIG)
    (home / "asks.py").write_text("""
from pyinfra import host
from pyinfra.facts.server import Users

host.get_fact(Users)
""")
    run = command(home, FIT_HOSTS, file="asks.py")
    done = forked.run(run, environment(home))
    assert done.returncode != 0
    assert "m: nobody described the fact Users" in done.stderr
