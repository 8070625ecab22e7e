"""The script that makes flannel's device, run in a network of its own."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from kubekeel.flannel import hardware_address
from kubekeel.render import render
from tests.clusters import cluster
from tests.namespaces import alone

NODE = cluster().node("a")
FORMER = "192.0.2.99"
OWN = hardware_address(NODE.address)
NETWORK = f"""
set -e
mount -t sysfs sysfs /sys
ip link add eth0 type veth peer name eth1
ip address add {NODE.address}/24 dev eth0
ip address add {FORMER}/24 dev eth0
ip link set eth0 up
"""


def device_after(before: str) -> str:
    """Return flannel's device with its neighbours and ways, after these commands and the script."""
    script = render("flannel/make-device", node=NODE, hardware_address=OWN).decode()
    look = "ip -d link show flannel.1; ip neigh show dev flannel.1; bridge fdb show dev flannel.1"
    lines = f"{NETWORK}{before}\nsh -c {shlex.quote(script)}\n{look}"
    done = subprocess.run([*alone("net", "mount"), "sh", "-c", lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def made(address: str, hardware: str) -> str:
    local = f"type vxlan id 1 dev eth0 local {address} dstport 8472 nolearning"
    return f"ip link add flannel.1 address {hardware} {local}; ip neigh add 10.244.9.0 lladdr {OWN} dev flannel.1"


@pytest.mark.parametrize(
    "before", ["", made(NODE.address, "3a:da:7b:12:47:3e"), made(FORMER, hardware_address(FORMER))]
)
def test_flannels_device_has_the_addresses_of_its_node(before: str) -> None:
    seen = device_after(before)
    assert f"link/ether {OWN} " in seen
    assert f" local {NODE.address} " in seen


def test_a_device_that_fits_stays_with_its_neighbours() -> None:
    assert f"10.244.9.0 lladdr {OWN} PERMANENT" in device_after(made(NODE.address, OWN))


def test_the_way_to_the_former_address_of_another_node_is_deleted() -> None:
    # flanneld replaces the neighbour of the subnet, and adds a way to its new hardware address.
    former = hardware_address(FORMER)
    ways = f"bridge fdb add {OWN} dev flannel.1 dst 192.0.2.3; bridge fdb add {former} dev flannel.1 dst {FORMER}"
    seen = device_after(f"{made(NODE.address, OWN)}; {ways}")
    assert f"{OWN} dst 192.0.2.3 self permanent" in seen
    assert former not in seen
