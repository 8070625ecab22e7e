"""The scripts by which a node detects missing rules, routes or devices, and restores them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[2] / "files"

# One of three nodes, in the output of its own commands.
SUBNET = """\
FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.82.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
"""
LINK = """\
3: flannel.1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UNKNOWN mode DEFAULT group default \
qlen 1000\\    link/ether 0a:58:c0:a8:01:a6 brd ff:ff:ff:ff:ff:ff
"""
ADDRESS = "3: flannel.1    inet 10.244.82.0/32 scope global flannel.1\\       valid_lft forever preferred_lft forever\n"
ROUTES = """\
default via 192.168.1.1 dev eth0
10.244.7.0/24 via 10.244.7.0 dev flannel.1 onlink
10.244.82.0/24 dev cni0 proto kernel scope link src 10.244.82.1
10.244.99.0/24 via 10.244.99.0 dev flannel.1 onlink
192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.166
"""
NEIGHBOURS = """\
10.244.99.0 lladdr 0a:58:c0:a8:01:a5 PERMANENT
10.244.7.0 lladdr 0a:58:c0:a8:01:a7 PERMANENT
"""
FDB = """\
33:33:00:00:00:01 self permanent
0a:58:c0:a8:01:a7 dst 192.168.1.167 self permanent
0a:58:c0:a8:01:a5 dst 192.168.1.165 self permanent
"""
VETHS = """\
2: eth0@if4: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP mode DEFAULT group default qlen 1000\
\\    link/ether 3a:da:7b:12:47:3e brd ff:ff:ff:ff:ff:ff link-netnsid 0
5: veth716cdaf3@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue master cni0 state UP mode DEFAULT group\
 default \\    link/ether 4a:33:c4:49:87:ff brd ff:ff:ff:ff:ff:ff link-netns cni-298780e7-41a9-7637-0bcd-137d5fd81b47
"""
RULES = "ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random\n"
LEASES = """\
/coreos.com/network/subnets/10.244.7.0-24
{"PublicIP":"192.168.1.167","PublicIPv6":null,"BackendType":"vxlan",\
"BackendData":{"VNI":1,"VtepMAC":"0a:58:c0:a8:01:a7"}}
/coreos.com/network/subnets/10.244.82.0-24
{"PublicIP":"192.168.1.166","PublicIPv6":null,"BackendType":"vxlan",\
"BackendData":{"VNI":1,"VtepMAC":"0a:58:c0:a8:01:a6"}}
/coreos.com/network/subnets/10.244.99.0-24
{"PublicIP":"192.168.1.165","PublicIPv6":null,"BackendType":"vxlan",\
"BackendData":{"VNI":1,"VtepMAC":"0a:58:c0:a8:01:a5"}}
"""
COMMANDS = {
    "ip -o link show dev flannel.1": LINK,
    "ip -o -4 address show dev flannel.1": ADDRESS,
    "ip -4 route show": ROUTES,
    "ip -4 neigh show dev flannel.1 nud permanent": NEIGHBOURS,
    "ip -o link show type veth": VETHS,
    "bridge fdb show dev flannel.1": FDB,
    "nft list chain ip flannel-ipv4 postrtg": RULES,
    "etcdctl": LEASES,
}
HOST_GW_ROUTES = """\
10.244.7.0/24 via 192.168.1.167 dev eth0
10.244.99.0/24 via 192.168.1.165 dev eth0
"""
HOST_GW_LEASES = """\
/coreos.com/network/subnets/10.244.7.0-24
{"PublicIP":"192.168.1.167","PublicIPv6":null,"BackendType":"host-gw"}
/coreos.com/network/subnets/10.244.82.0-24
{"PublicIP":"192.168.1.166","PublicIPv6":null,"BackendType":"host-gw"}
"""
HOST_GW = {"ip -4 route show": HOST_GW_ROUTES, "etcdctl": HOST_GW_LEASES}


class Node:
    """A host whose commands print the answers of a test, and nothing else."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.subnet = SUBNET
        (home / "bin").mkdir()

    def command(self, name: str, text: str) -> None:
        file = self.home / "bin" / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def answer(self, answers: dict[str, str]) -> None:
        for number, answer in enumerate(answers.values()):
            (self.home / str(number)).write_text(answer)
        for name in {call.split()[0] for call in answers}:
            cases = (
                f'"{call.partition(" ")[2]}"*) cat {self.home / str(number)} ;;'
                for number, call in enumerate(answers)
                if call.split()[0] == name
            )
            self.command(name, f'case "$*" in {" ".join(cases)} *) exit 1 ;; esac')

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        (self.home / "subnet.env").write_text(self.subnet)
        text = (FILES / script).read_text().replace("/run/flannel", str(self.home))
        environment = {"PATH": f"{self.home / 'bin'}:{os.environ['PATH']}"}
        return subprocess.run(
            ["sh", "-c", text, script, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    def lacks(self, backend: str = "vxlan", rules: str = "nftables", endpoints: str = "https://e") -> list[str]:
        """Return the faults that check-flannel prints."""
        words = (backend, rules, "10.244.0.0/16", "192.168.1.166", "0a:58:c0:a8:01:a6", endpoints)
        done = self.run("flannel/check-flannel.sh", *words)
        assert (done.returncode == 0) == (not done.stdout), done
        assert not done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_network_that_matches_its_leases_has_no_fault(node: Node) -> None:
    node.answer(COMMANDS)
    assert node.lacks() == []


MASQUERADE = "the rules that masquerade what pods send are missing"
NO_WAY = ["no route leads to 192.168.1.165", "no route leads to 192.168.1.167"]
ASTRAY = ["packets to 10.244.7.0/24 do not go to 192.168.1.167", "packets to 10.244.99.0/24 do not go to 192.168.1.165"]
BLIND = ["packets to 10.244.7.0/24 have a route, but no node", "packets to 10.244.99.0/24 have a route, but no node"]


@pytest.mark.parametrize(
    ("harm", "of_the_kernel", "of_leases"),
    [
        ({"nft list chain ip flannel-ipv4 postrtg": ""}, [MASQUERADE], []),
        ({"ip -o link show dev flannel.1": ""}, ["the device flannel.1 is missing"], []),
        ({"ip -o link show dev flannel.1": LINK.replace(",UP,", ",")}, ["the device flannel.1 is down"], []),
        (
            {"ip -o link show dev flannel.1": LINK.replace("0a:58:", "36:7c:")},
            ["flannel.1 has the hardware address 36:7c:c0:a8:01:a6, not 0a:58:c0:a8:01:a6"],
            [],
        ),
        ({"ip -o -4 address show dev flannel.1": ""}, ["flannel.1 has no address of its own"], []),
        ({"ip -4 route show": "", "ip -4 neigh show dev flannel.1 nud permanent": ""}, NO_WAY, ASTRAY),
        ({"ip -4 route show": ""}, NO_WAY, ASTRAY),
        ({"ip -4 neigh show dev flannel.1 nud permanent": ""}, [*BLIND, *NO_WAY], ASTRAY),
        ({"bridge fdb show dev flannel.1": ""}, BLIND, ASTRAY),
        (
            {"ip -o link show type veth": VETHS.replace("master cni0 ", "")},
            ["devices of pods without a bridge: 1"],
            [],
        ),
        # Known only from etcd: flanneld missed a node, or the change of its address.
        (
            {
                "ip -4 route show": "10.244.99.0/24 via 10.244.99.0 dev flannel.1 onlink\n",
                "bridge fdb show dev flannel.1": "0a:58:c0:a8:01:a5 dst 192.168.1.165 self permanent\n",
            },
            [],
            ASTRAY[:1],
        ),
        (
            {"etcdctl": LEASES.replace("01:a7", "ff:a7")},
            [],
            [
                ASTRAY[0],
                "the lease of 10.244.7.0/24 says that 192.168.1.167 has the hardware address 0a:58:c0:a8:ff:a7",
            ],
        ),
        # A node claims another one's hardware address, so flanneld sends it the other's packets.
        (
            {
                "etcdctl": LEASES.replace("01:a7", "01:a5"),
                "bridge fdb show dev flannel.1": FDB.replace("192.168.1.165", "192.168.1.167"),
            },
            [],
            [
                ASTRAY[0],
                "the lease of 10.244.7.0/24 says that 192.168.1.167 has the hardware address 0a:58:c0:a8:01:a5",
                ASTRAY[1],
            ],
        ),
        ({"etcdctl": HOST_GW_LEASES}, [], ["flanneld has no lease for vxlan on 192.168.1.166"]),
        ({"etcdctl": LEASES.replace("01:a6", "ff:a6")}, [], ["flanneld has no lease for vxlan on 192.168.1.166"]),
    ],
)
def test_faults_are_named_and_those_of_the_kernel_without_etcd_too(
    node: Node, harm: dict[str, str], of_the_kernel: list[str], of_leases: list[str]
) -> None:
    node.answer({**COMMANDS, **harm})
    assert sorted(node.lacks()) == sorted([*of_the_kernel, *of_leases])
    # A timer checks the kernel only, and etcd may not answer.
    assert sorted(node.lacks(endpoints="")) == sorted(of_the_kernel)
    node.command("etcdctl", "exit 1")
    assert sorted(node.lacks()) == sorted(of_the_kernel)


def test_an_entry_of_an_earlier_address_is_not_a_fault(node: Node) -> None:
    stale = "36:7c:77:2e:b5:5a dst 192.168.1.167 self permanent\n"
    node.answer({**COMMANDS, "bridge fdb show dev flannel.1": FDB + stale})
    assert node.lacks() == []


def test_a_flanneld_of_another_network_is_named(node: Node) -> None:
    node.answer(COMMANDS)
    node.subnet = SUBNET.replace("10.244.0.0/16", "10.1.0.0/16")
    assert node.lacks() == ["flanneld serves the network 10.1.0.0/16, not 10.244.0.0/16"]
    node.subnet = ""
    assert "flanneld serves no network, not 10.244.0.0/16" in node.lacks()


def test_host_gw_needs_routes_and_no_device(node: Node) -> None:
    node.answer({**COMMANDS, "ip -o link show dev flannel.1": "", "bridge fdb show dev flannel.1": "", **HOST_GW})
    assert node.lacks("host-gw") == []
    node.answer({**COMMANDS, **HOST_GW, "ip -4 route show": HOST_GW_ROUTES.replace(".167", ".200")})
    assert node.lacks("host-gw") == ["packets to 10.244.7.0/24 do not go to 192.168.1.167"]


def test_rules_are_checked_by_the_mode_of_kube_proxy(node: Node) -> None:
    jump = '-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG\n'
    node.answer({**COMMANDS, "iptables -w 5 -t nat -S POSTROUTING": jump})
    assert node.lacks(rules="iptables") == []
    node.answer({**COMMANDS, "iptables -w 5 -t nat -S POSTROUTING": "-P POSTROUTING ACCEPT\n"})
    assert node.lacks(rules="iptables") == [MASQUERADE]


@pytest.mark.parametrize(
    ("mode", "call", "rules"),
    [
        ("nftables", "nft --terse list chain ip kube-proxy nat-prerouting", "\t\tjump services\n"),
        ("iptables", "iptables -w 5 -t nat -S PREROUTING", "-A PREROUTING -j KUBE-SERVICES\n"),
    ],
)
def test_missing_rules_of_services_are_detected(node: Node, mode: str, call: str, rules: str) -> None:
    node.answer({call: rules})
    assert node.run("kube_proxy/check-kube-proxy.sh", mode).returncode == 0
    node.answer({call: "\n"})
    done = node.run("kube_proxy/check-kube-proxy.sh", mode)
    assert (done.returncode, done.stdout) == (1, "the rules that lead to services are missing\n")


SYSTEMCTL = """
case $1 in
is-active) [ -e {home}/active ] ;;
show) echo "$(( $(cut -d . -f 1 /proc/uptime) - $(cat {home}/age) ))000000" ;;
restart) echo "$2" >>{home}/restarts; {restart} ;;
esac
"""


class Healing:
    """A node's unit, active for an hour, and the script `heal`, which sleeps for moments only."""

    def __init__(self, node: Node, restart: str) -> None:
        self.home = node.home
        node.command("systemctl", SYSTEMCTL.format(home=self.home, restart=restart.format(home=self.home)))
        node.command("sleep", f"echo >>{self.home}/sleeps; {sleep_command()} 0.01")
        node.command("check", f"[ -e {self.home}/works ] || {{ echo its rules are missing; exit 1; }}")
        for name, text in (("active", ""), ("works", ""), ("age", "3600"), ("restarts", ""), ("sleeps", "")):
            (self.home / name).write_text(text)
        environment = {"PATH": f"{self.home / 'bin'}:{os.environ['PATH']}"}
        script = ["sh", str(FILES / "node/heal.sh"), "d.service", "check"]
        self.process = subprocess.Popen(
            script, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def after(self, sleeps: int) -> list[str]:
        """Return the restarted units after this many more sleeps."""
        last = self._count("sleeps") + sleeps
        end = time.monotonic() + 60
        while self._count("sleeps") < last:
            assert time.monotonic() < end
            time.sleep(0.01)
        return (self.home / "restarts").read_text().split()

    def _count(self, name: str) -> int:
        return len((self.home / name).read_text().splitlines())

    def end(self) -> str:
        os.killpg(self.process.pid, 15)
        return self.process.communicate()[0]


def sleep_command() -> str:
    found = subprocess.run(["sh", "-c", "command -v sleep"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_a_healthy_a_stopped_and_a_just_started_unit_are_left_alone(node: Node) -> None:
    healing = Healing(node, restart="true")
    try:
        assert healing.after(5) == []
        (node.home / "active").unlink()
        (node.home / "works").unlink()
        assert healing.after(5) == []
        (node.home / "age").write_text("5")
        (node.home / "active").touch()
        assert healing.after(5) == []
    finally:
        healing.end()


def test_a_unit_with_missing_rules_is_restarted_once_and_the_reason_is_logged(node: Node) -> None:
    healing = Healing(node, restart="touch {home}/works")
    try:
        healing.after(2)
        (node.home / "works").unlink()
        assert healing.after(8) == ["d.service"]
    finally:
        output = healing.end()
    assert output == "restarting d.service: its rules are missing\n"


def test_a_unit_that_a_restart_does_not_heal_is_restarted_less_and_less_often(node: Node) -> None:
    healing = Healing(node, restart="echo 16 >{home}/age")
    try:
        (node.home / "works").unlink()
        # The second restart needs twice the age that was enough for the first.
        assert healing.after(20) == ["d.service"]
        (node.home / "age").write_text("31")
        assert healing.after(20) == ["d.service"] * 2
    finally:
        healing.end()
