"""The API at other addresses than its master's: an endpoint from a setting, and a virtual address of keepalived."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
import yaml

from tests.lab_cluster import STATE, run_kubectl, wait_until
from tests.support import CLUSTER, deployed, host_of, settled

MASTER = CLUSTER.masters[0]
# The lab's machines have lower addresses.
FREE = str(IPv4Address(int(IPv4Address(max(node.address for node in CLUSTER.nodes))) + 60))


def server() -> str:
    (entry,) = yaml.safe_load((STATE / "admin.conf").read_text())["clusters"]
    return str(entry["cluster"]["server"])


def addresses() -> str:
    return host_of(MASTER).check_output("ip -o -4 address show")


@pytest.fixture
def _another_address() -> Iterator[None]:
    """Give the master an address that its inventory does not name, as behind a NAT."""
    device = host_of(MASTER).check_output(f"ip -o -4 address show to {MASTER.address} | awk '{{ print $2 }}'").strip()
    host_of(MASTER).check_output(f"ip address add {FREE}/32 dev {device}")
    yield
    host_of(MASTER).check_output(f"ip address del {FREE}/32 dev {device}")


@pytest.mark.usefixtures("_another_address")
def test_kubeconfigs_and_the_certificate_name_the_endpoint_of_the_setting() -> None:
    try:
        deployed("--data", f"api_endpoint={FREE}")
        assert server() == f"https://{FREE}:6443"
        run_kubectl("get", "nodes")
        assert deployed("--data", f"api_endpoint={FREE}").changes == []
    finally:
        settled()
    assert server() == f"https://{MASTER.address}:6443"


def test_a_ready_master_holds_the_virtual_address_until_its_setting_is_removed() -> None:
    setting = ("--data", f"api_vip={FREE}")
    try:
        deployed(*setting)
        assert server() == f"https://{FREE}:6443"
        wait_until(lambda: run_kubectl("get", "nodes"), 60, "the API answers at its own address")
        assert f" {FREE}/32 " in addresses()
        assert deployed(*setting).changes == []
        host_of(MASTER).check_output("kill -STOP $(pidof kube-apiserver)")
        try:
            wait_until(lambda: f" {FREE}/32 " not in addresses(), 30, "the address leaves a master that is not ready")
        finally:
            host_of(MASTER).check_output("kill -CONT $(pidof kube-apiserver)")
        wait_until(lambda: f" {FREE}/32 " in addresses(), 60, "the address comes back")
    finally:
        settled()
    assert FREE not in addresses()
    assert host_of(MASTER).run("systemctl cat kubekeel-vip").rc != 0
