"""Members that leave etcd while their hosts stay nodes, learners that never start, and changes of etcd's size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.etcd import ETCDCTL
from tests.chaos.machines import act, acted, all_members, inventory_of, members, on, refused, try_on
from tests.lab_cluster import INVENTORY, new_namespace, run_kubectl, the_cluster
from tests.support import deployed, harm, status, wait_healthy, writing

CLUSTER = the_cluster()

FIRST, OTHER, LAST = CLUSTER.etcd[0], CLUSTER.etcd[1], CLUSTER.etcd[-1]

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(len(CLUSTER.etcd) != 3, reason="needs the lab's own three hosts"),
]

REMOVE = "actions/remove_member.py"
LEFT = "ls -d /etc/etcd /var/lib/etcd /var/lib/etcd-snapshots /etc/systemd/system/etcd* /usr/local/bin/etcdctl"


@pytest.fixture(autouse=True, scope="module")
def _whole_again() -> Iterator[None]:
    """Make the cluster whole again, also after a failed test."""
    yield
    deployed()
    wait_healthy(300)


@pytest.fixture
def namespace() -> Iterator[str]:
    with new_namespace() as name:
        yield name


def deployed_twice(inventory: Path) -> None:
    """Deploy twice; the second run must change nothing."""
    acted("deploy.py", inventory=inventory)
    again = act("deploy.py", inventory=inventory)
    assert again.returncode == 0, again.stderr
    assert "Success" not in again.stderr.partition("Results:")[0]


def snapshots() -> set[str]:
    """Return all snapshots on the hosts of etcd, each with its host."""
    found = (try_on(node, "ls /var/lib/etcd-snapshots").stdout.split() for node in CLUSTER.etcd)
    return {f"{node.name}/{name}" for node, names in zip(CLUSTER.etcd, found, strict=True) for name in names}


def test_a_host_that_leaves_etcd_stays_a_node(tmp_path: Path) -> None:
    two = inventory_of(tmp_path / "two", etcd=[FIRST.name, OTHER.name])
    with harm(
        f"{LAST.name} is taken out of the group etcd", "refused until its member is removed; it stays a node"
    ) as row:
        refused(
            act("deploy.py", inventory=two),
            f"etcd: has a member that is not in the group etcd ({LAST.name}, https://{LAST.address}:2380)",
            f"{REMOVE} --data member={LAST.name}",
        )
        done = act("actions/status.py", inventory=two)
        assert done.returncode == 1
        assert f"not in the group etcd ({LAST.name}, " in done.stderr
        before = snapshots()
        acted(REMOVE, "--data", f"member={LAST.name}", inventory=two)
        assert any(name.startswith((FIRST.name, OTHER.name)) for name in snapshots() - before)
        assert members(FIRST).keys() == {FIRST.name, OTHER.name}
        assert try_on(LAST, LEFT).stdout == ""
        deployed_twice(two)
        assert f"node/{LAST.name} condition met" in run_kubectl(
            "wait", f"node/{LAST.name}", "--for=condition=Ready", "--timeout=60s"
        )
        assert act("actions/status.py", inventory=two).returncode == 0
        row.seen = "as expected"
    deployed()
    assert members(FIRST) == all_members()
    wait_healthy(300)


def test_a_learner_that_never_started_can_be_removed_by_its_address(tmp_path: Path) -> None:
    address = f"{LAST.address.rpartition('.')[0]}.199"
    two = inventory_of(tmp_path / "two", etcd=[FIRST.name, OTHER.name])
    with harm("a host of etcd never gets through, and another takes its place", "removed by its address") as row:
        acted(REMOVE, "--data", f"member={LAST.name}", inventory=two)
        on(FIRST, f"{ETCDCTL} member add never --learner --peer-urls=https://{address}:2380")
        refused(act("deploy.py"), f"(not started yet, https://{address}:2380)", f"{REMOVE} --data member={address}")
        refused(act(REMOVE, "--data", "member=never"), "never: is not a member of etcd")
        acted(REMOVE, "--data", f"member={address}")
        deployed()
        assert members(FIRST) == all_members()
        wait_healthy(300)
        row.seen = "as expected"


def test_a_member_that_was_removed_without_its_host_can_join_again() -> None:
    with harm(f"the member of {LAST.name} is removed without its host", "it joins once its data are removed") as row:
        on(LAST, "systemctl stop etcd")
        refused(act(REMOVE, "--data", f"member={OTHER.name}"), f"another member is not healthy ({LAST.name}, ")
        acted(REMOVE, "--data", f"member={LAST.name}", "--exclude", LAST.name)
        assert try_on(LAST, "ls /etc/etcd/pki/root.key").returncode == 0
        refused(act("deploy.py"), f"{LAST.name}: has etcd data, but is no longer a member")
        assert status()["healthy"] is False
        acted(REMOVE, "--data", f"member={LAST.name}")
        assert try_on(LAST, LEFT).stdout == ""
        deployed()
        assert members(FIRST) == all_members()
        wait_healthy(300)
        row.seen = "as expected"


def test_etcd_shrinks_to_one_member_and_grows_again_without_lost_writes(namespace: str, tmp_path: Path) -> None:
    one = inventory_of(tmp_path / "one", etcd=[FIRST.name])
    with harm("etcd shrinks from three members to one, and grows again", "no acknowledged write is lost") as row:
        refused(act("deploy.py", inventory=one), f"member={OTHER.name}", f"member={LAST.name}")
        with writing(namespace) as writes:
            for node in (LAST, OTHER):
                acted(REMOVE, "--data", f"member={node.name}", inventory=one)
            refused(
                act(REMOVE, "--data", f"member={FIRST.name}", inventory=one), "no quorum answers on a host that stays"
            )
            deployed_twice(one)
            assert members(FIRST).keys() == {FIRST.name}
            acted("deploy.py", inventory=INVENTORY)
        assert members(FIRST) == all_members()
        assert writes.lost() == set()
        wait_healthy(300)
        row.seen = f"of {len(writes.good)} writes none lost, {len(writes.bad)} refused; a gap of {writes.gap:.1f} s"
