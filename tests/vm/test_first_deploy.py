"""A cluster on a virtual machine's kernel: modules, sysctls, cgroups and AppArmor as on users' hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab_cluster import wait_until
from tests.vm.conftest import EARLIER, PATIENCE, Machine

pytestmark = pytest.mark.timeout(2 * PATIENCE)


@pytest.fixture(scope="module")
def pod(machine: Machine) -> Iterator[str]:
    """The name of a pod that answers HTTP requests behind a service."""
    machine.serve()
    yield "web"
    machine.kubectl("delete", "pod,service", "web", "--wait=false")


@pytest.mark.usefixtures("pod")
def test_a_second_run_changes_nothing(machine: Machine) -> None:
    assert machine.changes() == []


def test_the_kernel_has_the_settings_that_kubelet_and_kube_proxy_need(machine: Machine) -> None:
    assert machine.on("stat -fc %T /sys/fs/cgroup") == "cgroup2fs"
    kubelet = machine.on("cat /var/lib/kubelet/config.yaml")
    assert "cgroupDriver: systemd" in kubelet
    assert "protectKernelDefaults: true" in kubelet
    assert machine.on("sysctl -n vm.overcommit_memory kernel.panic net.ipv4.ip_forward").split() == ["1", "10", "1"]
    assert int(machine.on("sysctl -n net.netfilter.nf_conntrack_max")) >= 131072
    modules = machine.on("lsmod | awk '{print $1}'").split()
    assert {"overlay", "br_netfilter", "nf_conntrack", "vxlan"} <= set(modules)


def test_a_pod_is_confined_by_apparmor_and_seccomp(pod: str, machine: Machine) -> None:
    def inside(path: str) -> str:
        return machine.kubectl("exec", pod, "--", "python3", "-c", f"print(open({path!r}).read())")

    assert "cri-containerd.apparmor.d (enforce)" in inside("/proc/self/attr/current")
    assert "Seccomp:\t2" in inside("/proc/self/status")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://web", "http://web.default.svc.cluster.local"])
@pytest.mark.usefixtures("pod")
def test_a_pod_reaches_itself_and_its_service_by_name(machine: Machine, url: str) -> None:
    assert machine.page(url) == "master"


def test_pods_keep_running_when_the_host_s_network_services_restart(pod: str, machine: Machine) -> None:
    container = container_of(machine, pod)
    machine.on("systemctl restart systemd-networkd nftables systemd-resolved")
    wait_until(lambda: machine.page("http://web") == "master", PATIENCE, "the pod reaches its service")
    # Each unit of the network heals by itself, and the last one may still be about to.
    wait_until(machine.is_healthy, PATIENCE, "all units serve")
    # The package's own rules came with that restart.
    machine.on("nft delete table inet filter 2>/dev/null || true")
    assert container_of(machine, pod) == container
    assert machine.changes() == []


def test_a_patch_release_of_containerd_leaves_pods_in_place(pod: str, machine: Machine) -> None:
    container = container_of(machine, pod)
    assert EARLIER["containerd"].removeprefix("v") in machine.on("/opt/kubekeel/bin/containerd --version")
    machine.set()
    machine.fetch()
    machine.run("deploy.py")
    assert EARLIER["containerd"].removeprefix("v") not in machine.on("/opt/kubekeel/bin/containerd --version")
    assert container_of(machine, pod) == container
    assert machine.page("http://web") == "master"
    assert machine.changes() == []


def container_of(machine: Machine, pod: str) -> str:
    """Return the ID of a pod's container."""
    (status,) = json.loads(machine.kubectl("get", "pod", pod, "-o", "json"))["status"]["containerStatuses"]
    return str(status["containerID"])


@pytest.mark.usefixtures("pod")
def test_the_cluster_recovers_from_a_power_loss_without_a_run(machine: Machine) -> None:
    boot = machine.on("cat /proc/sys/kernel/random/boot_id")
    machine.lab("restart", "master", patience=PATIENCE)
    assert machine.on("cat /proc/sys/kernel/random/boot_id") != boot

    def back() -> bool:
        done = machine.lab("kubectl", "get", "node", "master", "-o", "json", check=False)
        if done.returncode:
            return False
        status = json.loads(done.stdout)["status"]
        ready = [each["status"] for each in status["conditions"] if each["type"] == "Ready"]
        return bool(status["nodeInfo"]["bootID"] != boot and ready == ["True"])

    wait_until(back, PATIENCE, "the node is Ready again")
    wait_until(lambda: machine.page("http://web") == "master", PATIENCE, "pods answer")
    assert machine.changes() == []
