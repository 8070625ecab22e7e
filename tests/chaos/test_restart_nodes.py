"""Hosts that restart one by one, while a service is in use and after a killed run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from kubekeel.cluster import Node
from kubekeel.restart import MARK
from tests.chaos.machines import cordoned, on, serve, try_on
from tests.lab_cluster import run_kubectl, the_cluster, wait_until
from tests.support import Deploy, Traffic, act, deploy, harm, settled, status, wait_healthy, writing

CLUSTER = the_cluster()
ACTION = "actions/restart_nodes.py"

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(len(CLUSTER.minions) < 2, reason="needs two minions"),
]


def boot_id(node: Node) -> str:
    return on(node, "cat /proc/sys/kernel/random/boot_id").strip()


def marked() -> set[str]:
    """Return the hosts that must still restart."""
    return {node.name for node in CLUSTER.nodes if on(node, f"[ ! -e {MARK} ] || echo yes").strip()}


def is_up(node: Node) -> bool:
    """Return whether a host runs, and no reboot of it has been requested."""
    # restart_nodes.py requests a reboot a second before it begins.
    script = "! pgrep -f '[s]ystemctl reboot' && [ \"$(systemctl is-system-running)\" != stopping ]"
    return try_on(node, script).returncode == 0


@pytest.fixture
def service() -> Iterator[str]:
    """The namespace of a service with two replicas, one of which must always run."""
    serve("restart")
    yield "restart"
    run_kubectl("delete", "namespace", "restart", "--wait=false")


def requests_of_a_user() -> Traffic:
    """Return requests to the service by a user who tries the next node if one does not answer."""

    def fetch(_: int) -> None:
        for node in CLUSTER.minions[:-1]:
            with suppress(httpx.HTTPError):
                return _fetched(node)
        return _fetched(CLUSTER.minions[-1])

    return Traffic(fetch, pause=0.1)


def _fetched(node: Node) -> None:
    httpx.get(f"http://{node.address}:30080", timeout=2, trust_env=False).raise_for_status()


def test_no_request_to_a_service_fails_while_all_hosts_restart(service: str) -> None:
    before = {node.name: boot_id(node) for node in CLUSTER.nodes}
    with harm("every host restarts in its turn", "no request to a service fails, no write is lost") as row:
        with requests_of_a_user() as user, writing(service) as writes:
            act("restart_nodes.py")
        row.seen = (
            f"{len(user.bad)} of {len(user.bad) + len(user.good)} requests failed;"
            f" {len(writes.lost())} of {len(writes.good)} writes lost"
        )
    assert not user.bad
    assert not writes.lost()
    assert all(boot_id(node) != before[node.name] for node in CLUSTER.nodes)
    assert not marked()
    assert cordoned() == []
    wait_healthy(120)
    assert deploy().changes == []


def test_the_same_command_continues_a_killed_restart() -> None:
    before = {node.name: boot_id(node) for node in CLUSTER.nodes}
    with harm("a restart is killed at its second host", "the same command restarts the others, no host twice") as row:
        with Deploy(action=ACTION) as run:
            assert run.until(lambda: sum("reboots" in line for line in run.lines) >= 2), run.lines
        # One of the two hosts is still rebooting.
        wait_until(lambda: all(map(is_up, CLUSTER.nodes)), 120, "all hosts are up")
        left = marked()
        first = {node.name: boot_id(node) for node in CLUSTER.nodes if node.name not in left}
        row.seen = f"{len(left)} of {len(CLUSTER.nodes)} hosts were left"
    assert left
    assert first
    act("restart_nodes.py")
    assert all(boot_id(node) != before[node.name] for node in CLUSTER.nodes)
    assert {name: boot_id(CLUSTER.node(name)) for name in first} == first
    assert not marked()
    assert cordoned() == []
    settled()


def test_a_command_that_fails_ends_the_run_and_the_same_run_continues() -> None:
    with Deploy("--data", "command=echo kubekeel >>/root/commanded", "--data", "reboot=needed", action=ACTION) as run:
        assert run.wait() == 0, run.lines
    assert {on(node, "cat /root/commanded; rm /root/commanded").strip() for node in CLUSTER.nodes} == {"kubekeel"}
    assert not any("reboots" in line for line in run.lines)
    fragile = ("--data", "command=touch /root/tried; test -e /root/repaired", "--data", "reboot=never")
    with Deploy(*fragile, action=ACTION) as run:
        assert run.wait() == 1, run.lines
    tried = [node.name for node in CLUSTER.nodes if on(node, "[ ! -e /root/tried ] || echo yes").strip()]
    assert tried == [CLUSTER.minions[0].name]
    assert cordoned() == []
    notes = status()["notes"]
    assert [note for note in notes if "its restart is not finished" not in note] == []
    assert len(notes) == len(CLUSTER.nodes)
    for node in CLUSTER.nodes:
        on(node, "touch /root/repaired")
    act("restart_nodes.py", *fragile)
    for node in CLUSTER.nodes:
        on(node, "rm /root/tried /root/repaired")
    assert not marked()
    settled()
