"""Deploys that are cut: wherever that is, the next run ends in the same state, and the one after changes nothing."""

from __future__ import annotations

import random
import time

import pytest

from tests.chaos.machines import BINARY, STORE, undo
from tests.support import (
    CLUSTER,
    Deploy,
    arrived,
    certificates,
    deploy,
    files,
    half_written,
    harm,
    host_of,
    leftovers,
    settled,
)

NODE = CLUSTER.minions[-1]
TRIES = 10
"""A file's last hundredth arrives fast."""


@pytest.fixture
def whole():
    """What must be as it was, after the cut deploy was taken up."""
    kept, before = certificates(), {node.name: files(host_of(node)) for node in CLUSTER.nodes}
    yield
    settled()
    assert certificates() == kept
    assert {node.name: files(host_of(node)) for node in CLUSTER.nodes} == before
    for node in CLUSTER.nodes:
        assert leftovers(host_of(node)) == []


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("part", [0.10, 0.50, 0.99])
@pytest.mark.parametrize("what", ["deploy", "connection"])
def test_a_transfer_is_cut(part: float, what: str) -> None:
    host = host_of(NODE)
    with harm(f"the {what} ends at {part:.0%} of a transfer", "no half binary, the next run ends well") as row:
        running = host.check_output("sha256sum /proc/$(pgrep -xo kubelet)/exe")
        for _ in range(TRIES):
            at = cut_at(part, what)
            if part <= at < 1:
                break
        assert part <= at < 1
        assert half_written(host, BINARY) == []
        assert host.check_output("sha256sum /proc/$(pgrep -xo kubelet)/exe") == running
        row.seen = f"cut at {at:.1%}; nothing half written"


def cut_at(part: float, what: str) -> float:
    """Cut a transfer when so much of it has arrived, or a little more; all of it, and it was too late."""
    host = host_of(NODE)
    host.check_output(f"rm -f {STORE}/*/{BINARY}")
    with Deploy() as cut:
        assert cut.reached("node | install binaries"), cut.lines
        if not cut.pause_when(lambda: arrived(NODE, BINARY) >= part):
            return 1
        at = arrived(NODE, BINARY)
        if what == "connection":
            # The one that feeds it, found by what it runs; not the shell that looks for it.
            feeds = f"$(ps -o ppid= -p $(pgrep -f 'te[e] {BINARY}.gz' | head -n 1))"
            if host.run(f"kill -9 {feeds}").rc != 0:
                return 1
            cut.resume()
            assert cut.wait() != 0
            assert any(NODE.name in line for line in cut.lines)
    return at


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("whole")
def test_the_disk_is_full_during_a_transfer() -> None:
    host = host_of(NODE)
    with harm("disk full during a transfer", "the run fails and names host and file, what runs stays") as row:
        running = host.check_output("sha256sum /proc/$(pgrep -xo kubelet)/exe")
        host.check_output(f"rm {STORE}/*/{BINARY}; mount -t tmpfs -o size=2m tmpfs /opt/kubekeel/incoming")
        try:
            run = deploy()
            assert run.status != 0
            (said,) = {line.strip() for line in run.output.splitlines() if "could not be written" in line}
            assert NODE.name in said
            assert f"{BINARY}.gz" in said
            assert leftovers(host) == []
            assert host.check_output("sha256sum /proc/$(pgrep -xo kubelet)/exe") == running
        finally:
            host.check_output("umount /opt/kubekeel/incoming")
        row.seen = said


@pytest.mark.timeout(3000)
@pytest.mark.usefixtures("whole")
def test_the_deploy_is_killed_at_the_beginning_of_each_operation() -> None:
    with harm("SIGKILL of a deploy at each operation's beginning", "one more run ends in the same state") as row:
        boundaries = 0
        while killed_at(boundaries + 1):
            boundaries += 1
        row.seen = f"{boundaries} boundaries, then one run"
        assert boundaries >= 10


@pytest.mark.timeout(3000)
@pytest.mark.usefixtures("whole")
def test_the_deploy_is_killed_at_twenty_random_moments() -> None:
    chance = random.Random(20)
    with harm("SIGKILL of a deploy at 20 random moments", "one more run ends in the same state") as row:
        for _ in range(20):
            killed_at(1, later=chance.uniform(0, 15))
        row.seen = "20 cuts, then one run"


def killed_at(operation: int, later: float = 0) -> bool:
    """Kill a deploy that has much to do as its n-th operation begins, or seconds later; False if it has none."""
    for node in CLUSTER.nodes:
        undo(node)
    with Deploy() as cut:
        reached = cut.until(lambda: cut.operations >= operation)
        time.sleep(later)
    return reached
