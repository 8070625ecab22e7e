"""A cluster on a kernel of its own: modules, sysctls, cgroups and AppArmor as the hosts of users have them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

import pytest

from tests.chaos.machines import LISTING
from tests.lab_cluster import server, service, wait_until
from tests.vm.conftest import PATIENCE, Machine

pytestmark = pytest.mark.timeout(2 * PATIENCE)


@pytest.fixture(scope="module")
def pod(machine: Machine) -> Iterator[str]:
    """A pod that answers by HTTP, behind a service."""
    machine.apply((server("web", "master", machine.image()), service()))
    machine.kubectl("wait", "pod", "web", "--for=condition=Ready", "--timeout=600s")
    yield "web"
    machine.kubectl("delete", "pod,service", "web", "--wait=false")


def test_a_second_run_changes_nothing(pod: str, machine: Machine) -> None:  # noqa: ARG001
    assert machine.changes() == []


def test_the_kernel_is_set_up_as_kubelet_and_kube_proxy_ask(machine: Machine) -> None:
    assert machine.on("stat -fc %T /sys/fs/cgroup") == "cgroup2fs"
    kubelet = machine.on("cat /var/lib/kubelet/config.yaml")
    assert "cgroupDriver: systemd" in kubelet
    assert "protectKernelDefaults: true" in kubelet
    assert machine.on("sysctl -n vm.overcommit_memory kernel.panic net.ipv4.ip_forward").split() == ["1", "10", "1"]
    assert int(machine.on("sysctl -n net.netfilter.nf_conntrack_max")) >= 131072
    modules = machine.on("lsmod | awk '{print $1}'").split()
    assert {"overlay", "br_netfilter", "nf_conntrack", "vxlan"} <= set(modules)


def test_a_pod_is_confined_by_apparmor_and_by_a_filter_of_system_calls(pod: str, machine: Machine) -> None:
    def inside(command: str) -> str:
        return machine.kubectl("exec", pod, "--", "python3", "-c", f"print(open({command!r}).read())")

    assert "cri-containerd.apparmor.d (enforce)" in inside("/proc/self/attr/current")
    assert "Seccomp:\t2" in inside("/proc/self/status")


FETCH = "import urllib.request; print(urllib.request.urlopen({url!r}, timeout=20).read().decode())"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://web", "http://web.default.svc.cluster.local"])
def test_a_pod_reaches_itself_and_its_service_by_name(pod: str, machine: Machine, url: str) -> None:
    assert machine.kubectl("exec", pod, "--", "python3", "-c", FETCH.format(url=url)).strip() == "master"


def test_it_comes_back_by_itself_after_a_power_loss(pod: str, machine: Machine) -> None:
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
    fetch = ("exec", pod, "--", "python3", "-c", FETCH.format(url="http://web"))
    wait_until(lambda: machine.lab("kubectl", *fetch, check=False).stdout.strip() == "master", PATIENCE, "pods answer")
    assert machine.changes() == []


def test_reset_leaves_the_machine_as_it_was(before: str, machine: Machine) -> None:
    machine.run("actions/reset.py", "--data", "confirm=kubekeel")
    of_packages = {path.removeprefix("/usr") for path in machine.on("cat /var/lib/dpkg/info/*.list").splitlines()}
    assert left_over(machine.on(LISTING), before, of_packages) == []


# What installing packages, and booting, write down elsewhere.
RECORDS = ("/var/lib/dpkg/", "/var/lib/systemd/", "/etc/alternatives/")


def left_over(after: str, before: str, of_packages: Collection[str]) -> list[str]:
    """What there is that was not there before, but for the files of packages, by their paths without /usr."""

    def is_of_a_package(line: str) -> bool:
        words = {word.removeprefix("/usr") for word in line.split()}
        units = {f"/lib/systemd/system/{word}" for word in words}
        return any(record in line for record in RECORDS) or not {*of_packages}.isdisjoint(words | units)

    return [line for line in after.splitlines() if line not in before.splitlines() and not is_of_a_package(line)]
