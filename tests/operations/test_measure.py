"""Measurements between hosts, by the hosts' own script, in networks made for the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kubekeel.preflight import Measured, ways
from kubekeel.shell import script
from tests.namespaces import alone

# Two hosts: the second one, in a separate network, listens on one port and refuses others.
LISTEN = "import socket, time; s = socket.create_server(('', 6443)); time.sleep(60)"
HOSTS = """
ip link set lo up
unshare --net sleep 60 >/dev/null 2>&1 &
other=$!
sleep 0.3
ip link add eth0 type veth peer name eth0 netns $other
ip address add 10.9.0.1/24 dev eth0
ip link set eth0 up
nsenter --target $other --net sh -c 'ip link set lo up; ip address add 10.9.0.2/24 dev eth0; ip link set eth0 up'
nsenter --target $other --net python3 -c "$LISTEN" >/dev/null 2>&1 &
server=$!
until nsenter --target $other --net ss -Hltn | grep -q 6443; do sleep 0.1; done
ip route add unreachable 10.9.0.9
trap 'kill $other $server' EXIT
"""


def measured(peers: str, disk: str = "", path: Path | None = None) -> Measured:
    """Return the measurements of the first host."""
    names = {peer.partition(":")[0]: peer.partition(":")[0] for peer in peers.split()}
    measure = script("node/measure.sh", peers=[peers], disk=[disk])
    lines = f"{HOSTS}\n(\n{measure}) 2>/dev/null\n"
    done = subprocess.run(
        [*alone("net"), "sh", "-c", lines],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "LISTEN": LISTEN, "PATH": f"{path or '/nowhere'}:{os.environ['PATH']}"},
        check=False,
    )
    return ways(done.stdout.splitlines(), names)


def test_a_port_is_reached_whether_or_not_a_process_listens() -> None:
    found = measured("10.9.0.2:6443,10250 10.9.0.9:2379")
    assert found.ways["10.9.0.2"].ports == {6443: "reached", 10250: "reached"}
    assert found.ways["10.9.0.9"].ports == {2379: "barred"}
    assert found.ways["10.9.0.2"].mtu == 1500


def test_a_port_whose_packets_are_dropped_is_lost() -> None:
    # No host has this address.
    assert measured("10.9.0.77:2379").ways["10.9.0.77"].ports[2379] in ("lost", "barred")


@pytest.mark.skipif(not shutil.which("ping"), reason="needs ping")
def test_packet_sizes_and_round_trips_are_measured() -> None:
    way = measured("10.9.0.2:6443").ways["10.9.0.2"]
    assert way.round_trip is not None
    assert way.packet == 1500


# The answers of ping where packets of more than 1400 bytes are lost.
PING = """#!/bin/sh
case "$*" in
  *-c\\ 5*) echo 'rtt min/avg/max/mdev = 0.037/0.291/0.062/0.010 ms' ;;
  *) while [ "$1" != -s ]; do shift; done; [ "$2" -le 1372 ] ;;
esac
"""


def test_the_largest_packet_that_arrives_is_found(tmp_path: Path) -> None:
    (tmp_path / "ping").write_text(PING)
    (tmp_path / "ping").chmod(0o755)
    way = measured("10.9.0.2:6443", path=tmp_path).ways["10.9.0.2"]
    assert (way.mtu, way.packet, way.round_trip) == (1500, 1400, 0.291)


def test_writes_are_timed_on_the_disk_of_etcd_and_leave_nothing(tmp_path: Path) -> None:
    found = measured("", disk=f"{tmp_path}/var/lib/etcd")
    assert len(found.syncs) == 200
    assert found.slow_sync is not None
    assert list(tmp_path.iterdir()) == []
