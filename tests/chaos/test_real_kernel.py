"""One virtual machine with all roles: its network services restart, and it loses power."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.virtual import PATIENCE, Machine, machine_of

pytestmark = pytest.mark.timeout(2 * PATIENCE)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Yield the machine after a first deploy, with a pod that answers HTTP requests behind the service `web`."""
    with machine_of() as machine:
        machine.run("deploy.py")
        machine.serve()
        yield machine


def test_pods_keep_running_when_the_host_s_network_services_restart(machine: Machine) -> None:
    containers = machine.containers()
    machine.on("systemctl restart systemd-networkd nftables systemd-resolved")
    machine.wait_page()
    machine.wait_healthy()
    # The package's own rules came with that restart.
    machine.on("nft delete table inet filter 2>/dev/null || true")
    assert machine.containers() == containers
    assert machine.changes() == []


def test_the_cluster_recovers_from_a_power_loss_without_a_run(machine: Machine) -> None:
    before = machine.boot()
    machine.lab("restart", "master", patience=PATIENCE)
    machine.wait_back(before)
    machine.wait_page()
    assert machine.changes() == []
