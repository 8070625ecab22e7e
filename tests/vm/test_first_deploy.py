"""A first deploy to a stock Debian 13 with its own kernel, on one host with all roles, until its reset.

tests/chaos has more tests on virtual machines, which take hours.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab_cluster import server
from tests.leftovers import LISTING, left_over
from tests.virtual import PATIENCE, Machine, machine_of

pytestmark = pytest.mark.timeout(PATIENCE)

# In its namespace, pods take packets of these pods only.
FROM_CLIENTS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "from-clients", "namespace": "default"},
    "spec": {
        "podSelector": {},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}],
    },
}


@pytest.fixture(scope="module")
def bare() -> Iterator[Machine]:
    with machine_of(network_policy="kube-network-policies") as machine:
        yield machine


@pytest.fixture(scope="module")
def before(bare: Machine) -> str:
    """Return all that a cluster could leave on the machine, as it was without one."""
    return bare.on(LISTING)


@pytest.fixture(scope="module")
def machine(bare: Machine, before: str) -> Machine:  # noqa: ARG001 - it comes before the cluster
    """Return the machine after a first deploy, with a pod that answers HTTP requests behind the service `web`."""
    bare.run("deploy.py")
    bare.serve()
    return bare


def test_a_second_run_changes_nothing(machine: Machine) -> None:
    assert machine.changes() == []


def test_the_kernel_has_the_settings_and_modules_that_components_need(machine: Machine) -> None:
    assert machine.on("stat -fc %T /sys/fs/cgroup") == "cgroup2fs"
    kubelet = machine.on("cat /var/lib/kubelet/config.yaml")
    assert "cgroupDriver: systemd" in kubelet
    assert "protectKernelDefaults: true" in kubelet
    assert machine.on("sysctl -n vm.overcommit_memory kernel.panic net.ipv4.ip_forward").split() == ["1", "10", "1"]
    assert int(machine.on("sysctl -n net.netfilter.nf_conntrack_max")) >= 131072
    modules = machine.on("lsmod | awk '{print $1}'").split()
    assert {"overlay", "br_netfilter", "nf_conntrack", "vxlan", "nft_queue", "nfnetlink_queue"} <= set(modules)


def test_a_pod_is_confined_by_apparmor_and_seccomp(machine: Machine) -> None:
    def inside(path: str) -> str:
        return machine.kubectl("exec", "web", "--", "python3", "-c", f"print(open({path!r}).read())")

    assert "cri-containerd.apparmor.d (enforce)" in inside("/proc/self/attr/current")
    assert "Seccomp:\t2" in inside("/proc/self/status")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://web", "http://web.default.svc.cluster.local"])
def test_a_pod_reaches_itself_and_its_service_by_name(machine: Machine, url: str) -> None:
    # kube-proxy may still be about to learn of the service.
    machine.wait_page(url)


def test_a_network_policy_lets_only_allowed_packets_pass(machine: Machine) -> None:
    client = server("client", "master", machine.image())
    machine.apply([client | {"metadata": {"name": "client", "labels": {"app": "client"}}}])
    machine.kubectl("wait", "pod", "client", "--for=condition=Ready", "--timeout=600s")
    to_client = f"http://{machine.kubectl('get', 'pod', 'client', '-o', 'jsonpath={.status.podIP}')}:8080"
    machine.wait_page(to_client)
    assert "does not enforce" not in machine.apply([FROM_CLIENTS])
    machine.wait_page(to_client, page="")
    # It is the packet that does not pass.
    machine.kubectl("exec", "web", "--", "true")
    machine.wait_page(pod="client")


def test_reset_leaves_the_machine_as_it_was(before: str, machine: Machine) -> None:
    machine.run("actions/reset.py", "--data", "confirm=kubekeel")
    assert left_over(machine, before) == []
