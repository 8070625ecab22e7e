"""A dry run on a cluster that serves: it names what differs on which host, and changes nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support import CLUSTER, INVENTORY, PROJECT, host_of

MINION = CLUSTER.minions[0]
FILE = "/etc/kubernetes/kubelet.conf"


@pytest.fixture
def opened() -> Iterator[str]:
    """A file of a minion that others may read."""
    before = host_of(MINION).check_output(f"stat -c %a {FILE}")
    host_of(MINION).check_output(f"chmod 0644 {FILE}")
    yield FILE
    host_of(MINION).check_output(f"chmod {before} {FILE}")


def differences() -> list[str]:
    """Without -y: with it, pyinfra looks for no changes."""
    done = subprocess.run(
        ["pyinfra", str(INVENTORY), "deploy.py", "--dry"],
        cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stderr.partition("--> Detected changes:")[2].partition("Operation")[0]
    return [line.strip() for line in said.splitlines() if line.strip()]


def test_a_cluster_as_described_differs_in_nothing() -> None:
    names = ", ".join(node.name for node in CLUSTER.nodes)
    assert differences() == [f"{names}: nothing differs"]


def test_a_file_that_differs_is_named_with_its_host_and_left_as_it_is(opened: str) -> None:
    first, *rest = differences()
    assert first.startswith(f"{MINION.name}: {opened} is 0644 root:root, ")
    assert [line for line in rest if "nothing differs" in line]
    assert host_of(MINION).check_output(f"stat -c %a {opened}") == "644"
