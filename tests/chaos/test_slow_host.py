"""Deploys to a host with a tenth of this computer's speed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.lab import Lab
from tests.lab_command import Command, ready_nodes

HOURS = 3600
# Each start of kube-proxy prints a reason and fails; systemd then starts it again.
BREAK = r"""
set -e
mkdir -p /etc/systemd/system/kube-proxy.service.d
printf '[Service]\nExecStartPre=/bin/sh -c "echo begins; echo the reason; exit 1"\n' \
  >/etc/systemd/system/kube-proxy.service.d/broken.conf
systemctl daemon-reload
systemctl restart kube-proxy
"""


@pytest.mark.timeout(3 * HOURS)
def test_one_deploy_succeeds_on_a_slow_host_and_another_names_a_crashing_unit(lab: Command, tmp_path: Path) -> None:
    lab("up", "--no-deploy", "--masters", "1", "--minions", "0")
    here = Lab(tmp_path / "lab")
    inventory = str(here.inventory)
    lab("run", "--", "python", "-m", "lab.artifacts", inventory, str(here.directory / "bin"), patience=HOURS)
    here.machine("master").group.slow_down((os.cpu_count() or 1) / 10)
    deploy = ("run", "--", "pyinfra", "-y", inventory, "deploy.py")

    lab(*deploy, patience=2 * HOURS)
    assert ready_nodes(lab) == {"master"}

    lab("shell", "master", "--", "sh", "-c", BREAK)
    done = lab(*deploy, check=False, patience=HOURS)
    assert done.returncode == 1
    reported = done.stderr.count("s for kube-proxy")
    # The same output again is not progress: the wait ends after 120 s, with a line every 30 s.
    assert reported <= 2 * 120 // 30, done.stderr
    for line in ("master: kube-proxy does not serve", "Its last try that ended:", "the reason"):
        assert line in done.stdout + done.stderr
