"""A host at a tenth of this computer's speed takes its time, and one run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.lab import Lab
from tests.lab_command import Command, ready_nodes

HOURS = 3600
# What crashes says why at its end, and its next try begins.
BREAK = r"""
set -e
mkdir -p /etc/systemd/system/kube-proxy.service.d
printf '[Service]\nExecStartPre=/bin/sh -c "echo begins; echo the reason; exit 1"\n' \
  >/etc/systemd/system/kube-proxy.service.d/broken.conf
systemctl daemon-reload
systemctl restart kube-proxy
"""
RESTARTS = "crictl ps --all -o json | grep -o '\"attempt\": [0-9]*' | sort | uniq -c"


@pytest.mark.timeout(3 * HOURS)
def test_a_deploy_to_a_slow_host_ends_well_in_one_run_and_tells_what_crashes(lab: Command, tmp_path: Path) -> None:
    lab("up", "--no-deploy", "--masters", "1", "--minions", "0")
    here = Lab(tmp_path / "lab")
    inventory = str(here.inventory)
    lab("run", "--", "python", "-m", "lab.artifacts", inventory, str(here.directory / "bin"), patience=HOURS)
    here.machine("master").group.slow_down((os.cpu_count() or 1) / 10)
    deploy = ("run", "--", "pyinfra", "-y", inventory, "deploy.py")

    lab(*deploy, patience=2 * HOURS)
    assert ready_nodes(lab) == {"master"}

    lab("shell", "master", "--", "sh", "-c", BREAK)
    told = lab(*deploy, check=False, patience=HOURS)
    assert told.returncode == 1
    reported = told.stderr.count("s for kube-proxy")
    # It repeats itself: patience is 120 s, and a line comes every 30 s.
    assert reported <= 2 * 120 // 30, told.stderr
    for line in ("master: kube-proxy does not serve", "Its last try that ended:", "the reason"):
        assert line in told.stdout + told.stderr
