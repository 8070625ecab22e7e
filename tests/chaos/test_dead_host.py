"""Runs whose host becomes unreachable, as in a power failure, and interrupted runs."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import pytest

from kubekeel.cluster import Node
from tests.chaos.machines import undo
from tests.lab_cluster import LAB
from tests.support import CLUSTER, Deploy, deployed, harm, host_of, settled

DEAD = CLUSTER.minions[-1]
OTHERS = [node for node in CLUSTER.nodes if node != DEAD]
UNREACHABLE = f"{DEAD.name}: is unreachable (no answer for 40 s); start it, or leave it out: --exclude {DEAD.name}"
LIFE = 30
"""The seconds after which a lease expires."""
AGE = "cat /run/kubekeel/lease && echo $(( $(date +%s) - $(stat -c %Y /run/kubekeel/lease) ))"

pytestmark = pytest.mark.timeout(1800)


@contextlib.contextmanager
def silent(node: Node) -> Iterator[None]:
    """Drop all packets to and from a machine until the end of the block."""
    LAB.keeper.call("ip", "link", "set", "dev", node.name, "down")
    try:
        yield
    finally:
        LAB.keeper.call("ip", "link", "set", "dev", node.name, "up")


def leases(nodes: list[Node]) -> dict[str, int]:
    """Return the age of each existing lease in seconds, by node."""
    outputs = {node.name: host_of(node).run(AGE) for node in nodes}
    return {name: int(seen.stdout.splitlines()[-1]) for name, seen in outputs.items() if seen.rc == 0}


class Lapses:
    """A search for hosts with expired leases, every few seconds until the end of the block."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch)
        self.found: list[dict[str, int]] = []
        self.looks = 0

    def _watch(self) -> None:
        while not self._ended.wait(3):
            ages = leases(self._nodes)
            self.looks += 1
            if len(ages) < len(self._nodes) or max(ages.values()) > LIFE:
                self.found.append(ages)

    def __enter__(self) -> Lapses:
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watching.join()


@pytest.mark.parametrize("operation", ["node | install binaries", "control plane | restart API servers one by one"])
def test_a_deploy_names_a_lost_host_and_the_next_one_continues(operation: str) -> None:
    with harm(f"{DEAD.name} falls silent at {operation}", "named in a minute; other leases stay; settled") as row:
        for node in CLUSTER.nodes:
            undo(node)
        with Deploy() as run:
            assert run.reached(operation), run.lines
            with silent(DEAD), Lapses(OTHERS) as lapses:
                assert run.until(lambda: any(UNREACHABLE in line for line in run.lines)), run.lines
            assert run.wait() == 1
        assert lapses.looks > 5
        assert lapses.found == []
        assert leases(OTHERS) == {}
        settled()
        row.seen = f"named; {lapses.looks} looks, no lease had run out; settled"


@pytest.mark.parametrize(
    ("action", "arguments", "operation"),
    [
        ("actions/remove_node.py", ("--data", f"node={DEAD.name}"), "reset"),
        ("actions/reset.py", ("--data", f"confirm={CLUSTER.name}", "--limit", DEAD.name), "reset"),
    ],
)
def test_an_action_names_its_lost_host_and_can_be_repeated(
    action: str, arguments: tuple[str, ...], operation: str
) -> None:
    with harm(f"{DEAD.name} falls silent in {action}", "named; called again it ends well") as row:
        with Deploy(*arguments, action=action) as run:
            assert run.reached(operation), run.lines
            with silent(DEAD):
                assert run.wait() == 1, run.lines
        assert any(UNREACHABLE in line for line in run.lines), run.lines
        assert leases(OTHERS) == {}
        with Deploy(*arguments, action=action) as again:
            assert again.wait() == 0, again.lines
        deployed()
        settled()
        row.seen = "named; settled"


def test_a_backup_is_made_although_a_member_becomes_unreachable(tmp_path) -> None:
    phrase = tmp_path / "phrase"
    phrase.touch(0o600)
    phrase.write_text("a long enough passphrase\n")
    arguments = ("--data", f"backup={tmp_path / 'backup'}", "--data", f"passphrase_file={phrase}")
    with harm(f"{DEAD.name} falls silent in a backup", "the backup is of another member") as row:
        with Deploy(*arguments, action="actions/backup.py") as run, silent(DEAD):
            assert run.wait() == 0, run.lines
        assert (tmp_path / "backup").exists()
        assert leases(OTHERS) == {}
        row.seen = "made"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_deploy_gives_its_leases_back_and_the_next_one_continues(number: signal.Signals) -> None:
    with harm(f"{number.name} for a deploy", "only busy hosts keep their leases; settled") as row:
        for node in CLUSTER.nodes:
            undo(node)
        with Deploy() as run:
            # Only one host is busy in this operation.
            assert run.reached("control plane | restart API servers one by one"), run.lines
            run.process.send_signal(number)
            assert run.wait() == 128 + number, run.lines
        assert leases(list(CLUSTER.nodes)).keys() <= {CLUSTER.masters[0].name}
        settled()
        row.seen = "settled"
