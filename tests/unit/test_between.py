"""The report of what hosts measured between each other."""

from __future__ import annotations

from kubekeel.preflight import Measured, line, measure_faults, measure_warnings, table, tried, ways
from kubekeel.preflight.between import Way
from tests.hosts import cluster

GOOD = Way(mtu=1500, round_trip=0.4, packet=1500, ports={2379: "reached", 10250: "reached"})


def test_measurements_are_read_by_the_names_of_the_other_hosts() -> None:
    lines = [
        *("size 192.0.2.2 1500", "round_trip 192.0.2.2 0.291", "packet 192.0.2.2 1400"),
        *("port 192.0.2.2 10250 lost", "port 192.0.2.2 2379 reached", "sync 0.0021", "sync 5.6e-05", "Welcome"),
    ]
    found = ways(lines, {"192.0.2.2": "a", "192.0.2.3": "b"})
    assert found.ways["a"] == Way(1500, 0.291, 1400, {2379: "reached", 10250: "lost"})
    assert found.ways["b"] == Way()
    assert [round(each, 3) for each in found.syncs] == [2.1, 0.056]


def test_the_table_has_a_line_for_each_pair_of_hosts_and_each_disk() -> None:
    measures = {
        "m": Measured({"a": GOOD, "b": Way(ports={10250: "lost"})}, syncs=[1.0] * 197 + [7.0, 8.0, 9.0]),
        "a": Measured({"m": Way()}),
    }
    assert table(measures) == [
        "FROM  TO        ROUND TRIP  LARGEST PACKET  TCP PORTS            ETCD WRITES",
        "m     its disk                                                   8.0 ms",
        "m     a         0.4 ms      1500 of 1500    2379, 10250 reached",
        "m     b         ?           ?               10250 lost",
        "a     m         ?           ?               ?",
    ]


def test_unreachable_ports_and_lost_packets_are_faults() -> None:
    way = Way(mtu=1500, round_trip=0.4, packet=1400, ports={2379: "reached", 2380: "lost", 10250: "barred"})
    assert [line(*each) for each in measure_faults({"m": Measured({"a": GOOD, "b": way})})] == [
        "m: does not reach ports of b (2380, 10250); let m through in the firewalls of b and between them",
        "m: sends b packets that do not arrive (1400 of 1500 bytes); set the MTU of that device to 1400, or repair the"
        " network between them",
    ]


def test_a_slow_disk_and_a_distant_member_are_warnings() -> None:
    far = Way(mtu=1500, round_trip=120.0, packet=1500)
    measures = {"m": Measured({"a": far, "b": far}, syncs=[10.5] * 200), "a": Measured(syncs=[9.5] * 200)}
    assert [line(*each) for each in measure_warnings(cluster(etcd="ma"), measures)] == [
        "m: has a slow disk for etcd's data (99 of 100 within 10.5 ms); etcd needs 10 ms; use an SSD",
        "m: is far from a, another member of etcd (120 ms); place members close together",
    ]


def test_the_ports_that_other_hosts_use_are_tried() -> None:
    made = cluster(etcd="ma")
    assert {node.name: tried(node, made) for node in made.nodes} == {
        "m": [2379, 2380, 6443, 10250],
        "a": [2379, 2380, 10250],
        "b": [10250],
    }
