"""A dry run on a running cluster: it names the differences of each host, and changes nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support import CLUSTER, INVENTORY, PROJECT, host_of

MINION = CLUSTER.minions[0]
FILE = "/etc/kubernetes/kubelet.conf"


@pytest.fixture
def opened() -> Iterator[str]:
    """Make a private file of a minion readable by everyone, and yield its path."""
    before = host_of(MINION).check_output(f"stat -c %a {FILE}")
    host_of(MINION).check_output(f"chmod 0644 {FILE}")
    yield FILE
    host_of(MINION).check_output(f"chmod {before} {FILE}")


def differences() -> list[str]:
    """Return the differences that a dry run names; with `-y`, pyinfra would not look for them."""
    done = subprocess.run(
        ["pyinfra", str(INVENTORY), "deploy.py", "--dry"],
        cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    section = done.stderr.partition("--> Detected changes:")[2].partition("Operation")[0]
    return [line.strip() for line in section.splitlines() if line.strip()]


def test_a_dry_run_finds_no_difference_in_a_converged_cluster() -> None:
    names = ", ".join(node.name for node in CLUSTER.nodes)
    assert differences() == [f"{names}: nothing differs"]


def test_a_dry_run_names_a_differing_file_and_its_host_and_does_not_change_it(opened: str) -> None:
    first, *rest = differences()
    assert first.startswith(f"{MINION.name}: {opened} is 0644 root:root, ")
    assert [line for line in rest if "nothing differs" in line]
    assert host_of(MINION).check_output(f"stat -c %a {opened}") == "644"
