"""Virtual machines of other kinds than the one of tests/vm: Debian's previous release, and three at once."""

from __future__ import annotations

import pytest

from tests.lab_cluster import server, wait_until
from tests.leftovers import LISTING, left_over
from tests.virtual import PATIENCE, Machine, machine_of

# They come from the previous minor version, as in test_upgrade.
FIRST, PATCH = "v1.36.1", "v1.36.3"


@pytest.mark.timeout(4 * PATIENCE)
def test_debian_12_runs_a_cluster_takes_a_patch_release_and_a_reset_leaves_nothing() -> None:
    with machine_of("--suite", "bookworm", kubernetes_version=FIRST) as machine:
        before = machine.on(LISTING)
        machine.run("deploy.py")
        machine.serve()
        machine.wait_page()
        assert machine.changes() == []
        containers = machine.containers()
        machine.set(kubernetes_version=PATCH)
        machine.fetch()
        machine.run("deploy.py")
        assert machine.kubectl("get", "node", "master", "-o", "jsonpath={.status.nodeInfo.kubeletVersion}") == PATCH
        assert machine.containers() == containers
        machine.wait_page()
        assert machine.changes() == []
        machine.run("actions/reset.py", "--data", "confirm=kubekeel")
        assert left_over(machine, before) == []


@pytest.mark.timeout(12 * PATIENCE)
def test_three_machines_keep_their_network_and_enforce_policies_between_nodes() -> None:
    with machine_of(minions=2, network_policy="kube-network-policies") as machine:
        before = {name: machine.on(LISTING, name) for name in machine.names}
        machine.run("deploy.py")
        machine.serve()
        client = server("client", "minion1", machine.image())
        machine.apply([client | {"metadata": {"name": "client", "labels": {"app": "client"}}}])
        machine.kubectl("wait", "pod", "client", "--for=condition=Ready", "--timeout=1800s")
        machine.wait_page(pod="client")
        assert machine.changes() == []

        for name in machine.names:
            has_the_settings(machine, name)
            containers = machine.containers()
            machine.on("systemctl restart systemd-networkd nftables systemd-resolved", name)
            machine.wait_page(pod="client")
            machine.wait_healthy()
            assert machine.containers() == containers

        machine.apply([DENY])
        wait_until(
            lambda: not machine.page("http://web.default", "client"), PATIENCE, "another node's packets do not come"
        )
        # It is the packet that does not come.
        machine.kubectl("exec", "client", "--", "python3", "-c", "")
        machine.apply([ALLOW])
        machine.wait_page(pod="client")
        machine.kubectl("delete", "networkpolicy", "--all")
        machine.kubectl("delete", "pod,service", "web", "client", "--ignore-not-found")

        # The package's own rules came with that restart.
        for name in machine.names:
            machine.on("nft delete table inet filter 2>/dev/null || true", name)
        assert machine.changes() == []
        machine.run("actions/reset.py", "--data", "confirm=kubekeel")
        assert {name: left_over(machine, before[name], name) for name in machine.names} == {
            name: [] for name in machine.names
        }


def has_the_settings(machine: Machine, name: str) -> None:
    """Check the kernel settings of a node: kubelet would refuse others."""
    assert "protectKernelDefaults: true" in machine.on("cat /var/lib/kubelet/config.yaml", name)
    assert machine.on("sysctl -n vm.overcommit_memory kernel.panic net.ipv4.ip_forward", name).split() == [
        "1",
        "10",
        "1",
    ]
    assert int(machine.on("sysctl -n net.netfilter.nf_conntrack_max", name)) >= 131072


def policy(name: str, *rules: object) -> dict[str, object]:
    """Return a policy of ingress to the pod `web` with these rules."""
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": list(rules)}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


DENY = policy("deny")
ALLOW = policy("allow", {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]})
