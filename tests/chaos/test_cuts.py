"""Interrupted deploys: the next run ends in the same state, and the run after it changes nothing."""

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
    packed_for,
    settled,
)

NODE = CLUSTER.minions[-1]
TRIES = 10
"""The last percent of a file arrives so fast that a cut can miss it."""


@pytest.fixture
def same_state():
    """After the test, finish the interrupted deploy; keys and files must be as before."""
    kept, before = certificates(), {node.name: files(host_of(node)) for node in CLUSTER.nodes}
    yield
    settled()
    assert certificates() == kept
    assert {node.name: files(host_of(node)) for node in CLUSTER.nodes} == before
    for node in CLUSTER.nodes:
        assert leftovers(host_of(node)) == []


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("same_state")
@pytest.mark.parametrize("part", [0.10, 0.50, 0.99])
@pytest.mark.parametrize("what", ["deploy", "connection"])
def test_an_interrupted_transfer_leaves_no_partial_binary(part: float, what: str) -> None:
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
    """Interrupt a transfer once this part of it has arrived; return the part that arrived, or 1 if it was too late."""
    host, packed = host_of(NODE), packed_for(NODE, BINARY)
    host.check_output(f"rm -f {STORE}/*/{BINARY}")
    with Deploy() as cut:
        assert cut.reached("node | install binaries"), cut.lines
        if not cut.pause_when(lambda: arrived(NODE, packed) >= part):
            return 1
        at = arrived(NODE, packed)
        if what == "connection":
            # The process that feeds `tee`; the brackets keep pgrep from finding its own shell.
            feeder = f"$(ps -o ppid= -p $(pgrep -f 'te[e] {packed.name}' | head -n 1))"
            if host.run(f"kill -9 {feeder}").rc != 0:
                return 1
            cut.resume()
            assert cut.wait() != 0
            assert any(NODE.name in line for line in cut.lines)
    return at


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("same_state")
def test_a_full_disk_during_a_transfer_is_reported_with_host_and_file() -> None:
    host = host_of(NODE)
    with harm("disk full during a transfer", "the run fails and names host and file, what runs stays") as row:
        running = host.check_output("sha256sum /proc/$(pgrep -xo kubelet)/exe")
        host.check_output(f"rm {STORE}/*/{BINARY}; mount -t tmpfs -o size=2m tmpfs /opt/kubekeel/incoming")
        try:
            run = deploy()
            assert run.status != 0
            (message,) = {line.strip() for line in run.output.splitlines() if "could not be written" in line}
            assert NODE.name in message
            assert f"{BINARY}.zst" in message
            assert leftovers(host) == []
            assert host.check_output("sha256sum /proc/$(pgrep -xo kubelet)/exe") == running
        finally:
            host.check_output("umount /opt/kubekeel/incoming")
        row.seen = message


@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("same_state")
def test_one_run_finishes_a_deploy_killed_at_any_operation() -> None:
    with harm("SIGKILL of a deploy at each operation's beginning", "one more run ends in the same state") as row:
        boundaries = 0
        while killed_at(boundaries + 1):
            boundaries += 1
        row.seen = f"{boundaries} boundaries, then one run"
        assert boundaries >= 10


@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("same_state")
def test_one_run_finishes_a_deploy_killed_at_random_moments() -> None:
    chance = random.Random(20)
    with harm("SIGKILL of a deploy at 20 random moments", "one more run ends in the same state") as row:
        for _ in range(20):
            killed_at(1, later=chance.uniform(0, 15))
        row.seen = "20 cuts, then one run"


def killed_at(operation: int, later: float = 0) -> bool:
    """Kill a deploy at its n-th operation, or `later` seconds after; return whether it reached that operation."""
    for node in CLUSTER.nodes:
        undo(node)
    with Deploy() as cut:
        reached = cut.until(lambda: cut.operations >= operation)
        time.sleep(later)
    return reached
