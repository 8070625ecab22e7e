"""The action check on a running cluster."""

from __future__ import annotations

import subprocess

from tests.support import CLUSTER, INVENTORY, PROJECT, host_of


def test_a_check_of_a_cluster_finds_no_fault_and_leaves_no_file() -> None:
    done = subprocess.run(
        ["pyinfra", "-y", str(INVENTORY), "actions/check.py"], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    names = [node.name for node in CLUSTER.nodes]
    routes = [row[:2] for row in rows if "reached" in row]
    assert routes == [[one, other] for one in names for other in names if one != other]
    assert [row[0] for row in rows if row[1:3] == ["its", "disk"]] == [node.name for node in CLUSTER.etcd]
    for node in CLUSTER.etcd:
        assert host_of(node).check_output("find /var/lib/etcd -name '.kubekeel-*'") == ""


def test_a_check_names_a_port_that_a_firewall_closes() -> None:
    last, rule = CLUSTER.minions[-1], "tcp dport 10250 ip saddr != 127.0.0.1 drop"
    chain = "nft add chain inet check inward '{ type filter hook input priority -5; policy accept; }'"
    host_of(last).check_output(f"nft add table inet check && {chain} && nft add rule inet check inward {rule}")
    try:
        done = subprocess.run(
            ["pyinfra", "-y", str(INVENTORY), "actions/check.py"], cwd=PROJECT, capture_output=True, text=True
        )
    finally:
        host_of(last).check_output("nft delete table inet check")
    assert done.returncode == 1
    assert f"{CLUSTER.masters[0].name}: does not reach ports of {last.name} (10250); let" in done.stderr
