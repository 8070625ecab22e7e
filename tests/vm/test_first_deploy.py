"""A first deploy to a stock Debian 13 with its own kernel, on one host with all roles."""

from __future__ import annotations

import pytest

from tests.virtual import PATIENCE, Machine

pytestmark = pytest.mark.timeout(PATIENCE)


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


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://web.default", "http://web.default.svc.cluster.local"])
def test_a_pod_reaches_itself_and_its_service_by_name(machine: Machine, url: str) -> None:
    # kube-proxy may still be about to learn of the service.
    machine.wait_page(url)
