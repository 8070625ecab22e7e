"""Lost, replaced, removed and returning nodes, and reset hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.machines import (
    act,
    acted,
    all_members,
    at_another_address,
    inventory_of,
    lose,
    members,
    on,
    refused,
    send_from,
    try_on,
    uids,
)
from tests.lab_cluster import run_kubectl, the_cluster
from tests.leftovers import LISTING
from tests.support import deployed, harm, healthy_status, lab, wait_healthy

CLUSTER = the_cluster()

MASTER, OTHER, LAST = CLUSTER.masters[0], CLUSTER.etcd[1], CLUSTER.minions[-1]

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(len(CLUSTER.etcd) != 3 or LAST not in CLUSTER.etcd, reason="needs the lab's own three hosts"),
]


@pytest.fixture(autouse=True, scope="module")
def _whole_again():
    """Make the cluster whole again, also after a failed test."""
    yield
    for node in CLUSTER.etcd:
        if "/opt/kubekeel" in try_on(node, "ls -d /opt/kubekeel").stdout:
            try_on(node, "systemctl start etcd")
    deployed()
    wait_healthy(300)


def test_removal_and_reset_of_a_replaced_node_leave_nothing_on_its_host() -> None:
    with harm(f"{LAST.name} is lost for good", "a plain deploy to the new machine replaces node and member") as row:
        lose(LAST)
        before = on(LAST, LISTING)
        deployed()
        assert members(MASTER) == all_members()
        wait_healthy(300)
        row.seen = "as expected"
    with harm(f"{LAST.name} is removed", "pods elsewhere, no node, no member, the host as it was") as row:
        acted("actions/remove_node.py", "--data", f"node={LAST.name}")
        assert LAST.name not in run_kubectl("get", "nodes", "-o", "name")
        assert members(MASTER).keys() == all_members().keys() - {LAST.name}
        assert f" {LAST.name} " not in run_kubectl("get", "pods", "--all-namespaces", "-o", "wide")
        assert on(LAST, LISTING).splitlines() == before.splitlines()
        deployed()
        assert members(MASTER) == all_members()
        wait_healthy(300)
        acted("actions/reset.py", "--data", f"confirm={CLUSTER.name}", "--limit", LAST.name)
        assert on(LAST, LISTING).splitlines() == before.splitlines()
        row.seen = "no path, port, rule, link, mount, unit, user or process more or less"
    deployed()
    assert members(MASTER) == all_members()
    wait_healthy(300)


def test_the_first_master_is_replaced_like_any_other() -> None:
    before = uids()
    with harm(f"{MASTER.name}, the first and only master, is lost", "a plain deploy, and every object is there") as row:
        lose(MASTER)
        deployed()
        assert members(OTHER) == all_members()
        assert uids() >= before
        wait_healthy(300)
        row.seen = f"{len(before)} objects with the UIDs they had"


def test_a_new_machine_can_have_another_address(tmp_path: Path) -> None:
    address = f"{LAST.address.rpartition('.')[0]}.199"
    with harm(f"{LAST.name} is lost, the new machine is at {address}", "a plain deploy replaces it") as row:
        lose(LAST)
        inventory = at_another_address(LAST, address, tmp_path)
        refused(
            act("deploy.py", inventory=inventory),
            f"{LAST.name}: reaches etcd on {MASTER.name} from another address than its {address} ({LAST.address})",
        )
        send_from(LAST, address)
        acted("deploy.py", inventory=inventory)
        assert members(MASTER) == {**all_members(), LAST.name: f"https://{address}:2380"}
        assert address in run_kubectl("get", "nodes", LAST.name, "-o", "wide")
        lose(LAST)
        deployed()
        assert members(MASTER) == all_members()
        wait_healthy(300)
        row.seen = "as expected, there and back"


def test_a_node_outside_of_etcd_can_change_its_address(tmp_path: Path) -> None:
    address = f"{LAST.address.rpartition('.')[0]}.199"
    etcd = [node.name for node in CLUSTER.etcd if node != LAST]
    before, after = (
        inventory_of(tmp_path / where, etcd, {LAST.name: there})
        for where, there in (("before", LAST.address), ("after", address))
    )
    with harm(f"the live {LAST.name} is moved to {address}", "one plain deploy; pods' packets go there") as row:
        acted("actions/remove_member.py", "--data", f"member={LAST.name}", inventory=before)
        acted("deploy.py", inventory=before)
        send_from(LAST, address)
        acted("deploy.py", inventory=after)
        assert address in run_kubectl("get", "nodes", LAST.name, "-o", "wide")
        # It compares routes, neighbours and ways on each node with the leases.
        healthy_status(120, inventory=after)
        for node in CLUSTER.etcd[:-1]:
            assert f"dst {LAST.address} " not in on(node, "bridge fdb show dev flannel.1")
        assert deployed(inventory=after).changes == []
        row.seen = "as expected"
    lose(LAST)
    deployed()
    assert members(MASTER) == all_members()
    wait_healthy(300)


def test_a_dead_host_is_removed_only_with_exclude() -> None:
    with harm(
        f"{LAST.name} is off for good and removed", "only with --exclude; a new machine comes in its place"
    ) as row:
        lab("stop", LAST.name)
        refused(act("actions/remove_node.py", "--data", f"node={LAST.name}"), f"leave it out: --exclude {LAST.name}")
        acted("actions/remove_node.py", "--data", f"node={LAST.name}", "--exclude", LAST.name)
        assert LAST.name not in run_kubectl("get", "nodes", "-o", "name")
        assert members(MASTER).keys() == all_members().keys() - {LAST.name}
        lose(LAST)
        deployed()
        assert members(MASTER) == all_members()
        wait_healthy(300)
        row.seen = "as expected"


def test_a_member_that_etcd_needs_is_not_removed() -> None:
    with harm(f"{LAST.name} is to go while {OTHER.name} is down", "refused before anything is done") as row:
        on(OTHER, "systemctl stop etcd")
        done = act("actions/remove_node.py", "--data", f"node={LAST.name}")
        on(OTHER, "systemctl start etcd")
        refused(done, f"{LAST.name}: cannot leave etcd while another member is not healthy ({OTHER.name},")
        assert "Starting operation: drain" not in done.stderr
        assert LAST.name in run_kubectl("get", "nodes", "-o", "name")
        assert members(MASTER) == all_members()
        row.seen = "refused"
    refused(
        act("actions/remove_node.py", "--data", f"node={MASTER.name}"), "is the only master", "no host was contacted"
    )


def test_a_host_that_lost_its_data_starts_no_second_cluster() -> None:
    with harm("no quorum, and a member without data", "no second cluster, whoever starts what") as row:
        for node in CLUSTER.etcd:
            on(node, "systemctl stop etcd")
        on(LAST, "rm -rf /var/lib/etcd/member")
        assert try_on(LAST, "systemctl start etcd").returncode != 0
        refused(
            act("deploy.py", "--limit", LAST.name),
            f"{LAST.name}: has no etcd data, no quorum of the other members answers, and it cannot start a new",
            f"{MASTER.name} is not in this run",
        )
        assert try_on(LAST, "ls /var/lib/etcd/member").returncode != 0
        for node in CLUSTER.etcd[:-1]:
            on(node, "systemctl start --no-block etcd")
        deployed()
        assert members(MASTER) == all_members()
        wait_healthy(300)
        row.seen = "refused; it joined once the others were back"


def test_a_reset_needs_the_clusters_name() -> None:
    for confirm in ((), ("--data", "confirm=yes")):
        refused(
            act("actions/reset.py", *confirm),
            "--data confirm: is not the cluster's name",
            f"write --data confirm={CLUSTER.name}",
            "no host was contacted",
        )
