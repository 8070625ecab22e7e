"""A machine with all roles and a kernel of its own: the machine restarts, and containerd takes a patch release."""

from __future__ import annotations

import pytest

from tests.lab_cluster import server, wait_until
from tests.virtual import PATIENCE, Machine
from tests.vm.conftest import EARLIER

pytestmark = pytest.mark.timeout(2 * PATIENCE)

SLEEPER = """
import signal, sys, time
def end(*_):
    print("ended in order", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("waits", flush=True)
while True:
    time.sleep(1)
"""


def test_a_reboot_lets_pods_end_in_order_and_the_cluster_comes_back(machine: Machine) -> None:
    pod = server("sleeper", "master", machine.image())
    # It is no part of the service.
    del pod["metadata"]["labels"]
    pod["spec"]["terminationGracePeriodSeconds"] = 10
    (container,) = pod["spec"]["containers"]
    del container["readinessProbe"]
    machine.apply([pod | {"spec": pod["spec"] | {"containers": [container | {"command": ["python3", "-c", SLEEPER]}]}}])
    look = ("kubectl", "logs", "sleeper")
    wait_until(lambda: "waits" in machine.lab(*look, check=False, patience=PATIENCE).stdout, 600, "the pod runs")
    # kubelet delays the shutdown by logind.
    wait_until(lambda: "kubelet" in machine.on("systemd-inhibit --list --no-legend"), 600, "kubelet delays shutdowns")
    # kubelet deletes the logs of containers that ran before a boot.
    machine.on("systemd-run --quiet sh -c 'tail -f /var/log/pods/default_sleeper_*/*/*.log >/var/tmp/sleeper.log'")
    before = machine.boot()
    # The connection may end before the command does.
    machine.lab("shell", "master", "--", "systemctl", "reboot", check=False, patience=PATIENCE)
    wait_until(lambda: machine.boot() not in ("", before), PATIENCE, "the machine boots")
    machine.wait_back(before)
    assert "ended in order" in machine.on("cat /var/tmp/sleeper.log")
    machine.kubectl("delete", "pod", "sleeper", "--force", "--grace-period=0")
    assert machine.changes() == []


def test_a_patch_release_of_containerd_leaves_pods_in_place(machine: Machine) -> None:
    containers = machine.containers()
    assert EARLIER["containerd"].removeprefix("v") in machine.on("/opt/kubekeel/bin/containerd --version")
    machine.set()
    machine.fetch()
    machine.run("deploy.py")
    assert EARLIER["containerd"].removeprefix("v") not in machine.on("/opt/kubekeel/bin/containerd --version")
    assert machine.containers() == containers
    machine.wait_page()
    assert machine.changes() == []
