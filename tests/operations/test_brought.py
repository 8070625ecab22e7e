"""Other programs' files, devices and rules: the look's own script, run on real ones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from kubekeel.preflight import Brought, Chain, DropIn, HostSeen, Tunnel
from operations.preflight import brought, read
from tests.namespaces import alone

PODS = IPv4Network("10.244.0.0/16")
ANSWER = ["uid 0", "clock 1000", "kernel Linux 6", "hostname h", "arch x86_64", "resolv_conf /etc/resolv.conf"]


def looked(root: Path, before: str = "", path: Path | None = None) -> HostSeen:
    """Return the look at a host whose files are below `root`, after the commands `before`."""
    script = re.sub(
        r"(?<![\w.}])/(etc|run|lib|usr/lib|usr/local|var/lib)/",
        rf"{root}/\1/",
        brought(["/etc/crictl.yaml", "/usr/local/bin/kubectl", "/usr/local/bin/crictl"], PODS),
    )
    script = script.replace("/opt/kubekeel/store", f"{root}/opt/kubekeel/store")
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    done = subprocess.run(
        [*alone("net", "mount"), "sh", "-c", f"set -e\n{before}\nset +e\n{script}"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    host = read([*ANSWER, *done.stdout.replace(str(root), "").splitlines()], 1000, 1001, None)
    assert isinstance(host, HostSeen), done.stderr
    return host


def put(path: Path, content: str = "something\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_a_look_finds_nothing_on_a_bare_host(tmp_path: Path) -> None:
    assert looked(tmp_path).brought == Brought()


OWN = "[Service]\nExecStart=/opt/kubekeel/bin/containerd\n"
OTHER = "[Service]\nExecStart=/usr/bin/containerd\n"


def test_the_unit_of_a_package_is_found_with_its_path(tmp_path: Path) -> None:
    put(tmp_path / "lib/systemd/system/containerd.service", OTHER)
    put(tmp_path / "lib/systemd/system/docker.service", OTHER)
    found = looked(tmp_path).brought
    assert found.units == {"containerd.service": "/lib/systemd/system/containerd.service"}
    assert found.own_units == frozenset()
    assert found.others == {"docker.service"}


def test_a_unit_of_kubekeel_overrides_the_unit_of_a_package(tmp_path: Path) -> None:
    put(tmp_path / "lib/systemd/system/containerd.service", OTHER)
    put(tmp_path / "etc/systemd/system/containerd.service", OWN)
    found = looked(tmp_path).brought
    assert (found.units, found.own_units) == ({}, {"containerd.service"})


def test_a_unit_with_the_prefix_kubekeel_belongs_to_kubekeel(tmp_path: Path) -> None:
    relay = "[Service]\nExecStart=/usr/bin/socat\n"
    put(tmp_path / "etc/systemd/system/kubekeel-etcd-metrics.service", relay)
    found = looked(tmp_path).brought
    assert (found.units, found.own_units) == ({}, {"kubekeel-etcd-metrics.service"})


def test_a_masked_unit_is_ignored(tmp_path: Path) -> None:
    put(tmp_path / "lib/systemd/system/containerd.service", OTHER)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/containerd.service").symlink_to("/dev/null")
    found = looked(tmp_path).brought
    assert (found.units, found.own_units) == ({}, frozenset())


def test_drop_ins_are_found_without_a_unit_too_and_with_their_effect(tmp_path: Path) -> None:
    put(tmp_path / "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", "[Service]\nExecStart=\nExecStart=/x\n")
    put(
        tmp_path / "usr/lib/systemd/system/service.d/10-timeout-abort.conf", "[Service]\nTimeoutStopFailureMode=abort\n"
    )
    put(tmp_path / "etc/systemd/system/containerd.service.d/proxy.conf", "[Service]\nEnvironment=HTTPS_PROXY=x\n")
    assert set(looked(tmp_path).brought.drop_ins) == {
        DropIn("kubelet.service", "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", replaces=True),
        DropIn("containerd.service", "/etc/systemd/system/containerd.service.d/proxy.conf", replaces=False),
    }


def test_a_hidden_drop_in_is_ignored(tmp_path: Path) -> None:
    put(tmp_path / "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", "[Service]\nExecStart=\nExecStart=/x\n")
    (tmp_path / "etc/systemd/system/kubelet.service.d").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/kubelet.service.d/10-kubeadm.conf").symlink_to("/dev/null")
    assert looked(tmp_path).brought.drop_ins == ()


def test_data_are_found_and_empty_folders_are_ignored(tmp_path: Path) -> None:
    put(tmp_path / "var/lib/containerd/io.containerd.content.v1.content/blobs/x")
    put(tmp_path / "etc/containerd/config.toml")
    put(tmp_path / "etc/containerd/certs.d/example.org/hosts.toml")
    put(tmp_path / "disk/etcd/member/snap/db")
    (tmp_path / "var/lib/etcd").symlink_to(tmp_path / "disk/etcd")
    (tmp_path / "var/lib/kubelet/pods").mkdir(parents=True)
    assert looked(tmp_path).brought.filled == {
        "/var/lib/containerd": "/var/lib/containerd/io.containerd.content.v1.content/blobs/x",
        "/etc/containerd/config.toml": "/etc/containerd/config.toml",
        "/var/lib/etcd": "/var/lib/etcd/member/snap/db",
    }


def test_files_that_a_deploy_would_replace_are_found(tmp_path: Path) -> None:
    put(tmp_path / "etc/crictl.yaml")
    put(tmp_path / "usr/local/bin/kubectl")
    (tmp_path / "usr/local/bin/crictl").symlink_to("/opt/kubekeel/bin/crictl")
    assert looked(tmp_path).brought.replaced == {"/etc/crictl.yaml", "/usr/local/bin/kubectl"}
    put(tmp_path / "opt/kubekeel/store/0/kubelet")
    assert looked(tmp_path).brought.replaced == frozenset()


def test_all_cni_configurations_of_others_are_found(tmp_path: Path) -> None:
    for name in ("05-cilium.conflist", "10-flannel.conflist", "87-podman.json", "99-loopback.conf", "README.md"):
        put(tmp_path / "etc/cni/net.d" / name)
    assert looked(tmp_path).brought.cni == {"05-cilium.conflist", "87-podman.json", "99-loopback.conf"}


# Devices and ports


def test_devices_of_another_pod_network_are_found(tmp_path: Path) -> None:
    made = "for name in cni0 cilium_vxlan calico0 kube-ipvs0 eth7 docker0; do ip link add $name type bridge; done"
    assert looked(tmp_path, made).brought.devices == {"cni0", "cilium_vxlan", "calico0", "kube-ipvs0"}


def test_devices_on_a_udp_port_are_found_with_how_they_share_it(tmp_path: Path) -> None:
    host = looked(
        tmp_path,
        "ip link add vx0 type vxlan external dstport 8472\n"
        "ip link add vx1 type vxlan id 7 dstport 8472\n"
        "ip link add vx2 type vxlan id 7 dstport 8473 gbp\n"
        "ip link set vx0 up\n",
    )
    assert set(host.tunnels) == {
        Tunnel("vx0", "vxlan", 8472, 0, apart=True),
        Tunnel("vx1", "vxlan", 8472, 7),
        Tunnel("vx2", "vxlan", 8473, 7, apart=True),
    }
    assert [listener for listener in host.listeners if listener.protocol == "udp"] == []


def test_a_process_on_a_udp_port_is_found(tmp_path: Path) -> None:
    listens = "import socket, time; s = socket.socket(type=2); s.bind(('', 8472)); print(flush=True); time.sleep(9)"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    host = looked(tmp_path, f'python3 -c "{listens}" >{fifo} & read -r _ <{fifo}')
    [listener] = host.listeners
    assert (listener.protocol, listener.port) == ("udp", 8472)
    assert listener.process.startswith("python3, process ")


# Firewalls, by nft of this computer or of the lab's machines


def real(folder: Path, *commands: str) -> Path:
    """Return a folder with these commands, from this computer or the lab's image of a machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubekeel/lab"
    folder.mkdir()
    for command in commands:
        images = [image for image in cache.glob("*") if os.path.lexists(image / "usr/sbin" / command)]
        if here := shutil.which(command):
            (folder / command).symlink_to(here)
        elif images:
            (folder / command).write_text(f'#!/bin/sh\nexec chroot {images[0]} {command} "$@"\n')
            (folder / command).chmod(0o755)
        else:
            pytest.skip(f"needs {command}, or the lab's image of a machine")
    return folder


@pytest.fixture
def nft(tmp_path: Path) -> Path:
    return real(tmp_path / "bin", "nft")


@pytest.fixture
def both(tmp_path: Path) -> Path:
    return real(tmp_path / "bin", "nft", "iptables", "iptables-save")


DROPPING = (
    "nft add table inet own; nft add chain inet own ward '{ type filter hook forward priority 0; policy drop; }'\n"
)


def test_a_chain_that_drops_the_traffic_of_pods_is_found(tmp_path: Path, nft: Path) -> None:
    other = "nft add chain inet own inward '{ type filter hook input priority 0; policy accept; }'\n"
    chains = looked(tmp_path, DROPPING + other, nft).brought.drops
    assert chains == (Chain("forward", "inet", "own", "ward"),)


def test_a_chain_of_iptables_that_drops_is_found(tmp_path: Path, both: Path) -> None:
    chains = looked(tmp_path, "iptables -P FORWARD DROP; iptables -P INPUT DROP", both).brought.drops
    assert set(chains) == {Chain("forward", "ip", "filter", "FORWARD"), Chain("input", "ip", "filter", "INPUT")}


@pytest.mark.parametrize(
    "rule",
    [
        f"nft add rule inet own ward ip saddr {PODS} accept",
        "nft add rule inet own ward iifname cni0 counter accept",
        "nft add chain inet own FLANNEL-FWD; nft add rule inet own ward jump FLANNEL-FWD",
    ],
)
def test_a_chain_that_accepts_the_traffic_of_pods_is_ignored(tmp_path: Path, nft: Path, rule: str) -> None:
    assert looked(tmp_path, DROPPING + rule, nft).brought.drops == ()


ACCEPTING = DROPPING.replace("policy drop", "policy accept")


@pytest.mark.parametrize(
    "rule",
    [
        "drop",
        "counter reject with icmpx type admin-prohibited",
        'log prefix \\"all the rest: \\" level warn counter drop comment \\"no more\\"',
    ],
)
def test_a_chain_with_a_rule_that_drops_everything_is_found(tmp_path: Path, nft: Path, rule: str) -> None:
    before = f"{ACCEPTING}nft add rule inet own ward ct state established accept; nft add rule inet own ward {rule}"
    found = (Chain("forward", "inet", "own", "ward", by="rule"),)
    assert looked(tmp_path, before, nft).brought.drops == found
    useless = f"{before}; nft add rule inet own ward iifname cni0 accept"
    assert looked(tmp_path, useless, nft).brought.drops == found
    useful = f"{before}; nft insert rule inet own ward iifname cni0 accept"
    assert looked(tmp_path, useful, nft).brought.drops == ()


@pytest.mark.parametrize("rule", ["ct state invalid drop", "limit rate over 9/second drop", "accept; {} drop"])
def test_a_chain_that_drops_only_some_packets_is_ignored(tmp_path: Path, nft: Path, rule: str) -> None:
    add = "nft add rule inet own ward"
    assert looked(tmp_path, f"{ACCEPTING}{add} {rule.format(add)}", nft).brought.drops == ()


def test_a_rule_of_iptables_that_rejects_everything_is_found(tmp_path: Path) -> None:
    # As Oracle's images and iptables-services have it.
    saved = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m comment --comment "all the rest" -j REJECT --reject-with icmp-host-prohibited
COMMIT
"""
    if shutil.which("nft"):
        pytest.skip("nft is there")
    put(tmp_path / "bin/iptables-save", f"#!/bin/sh\ncat <<END\n{saved}END\n")
    (tmp_path / "bin/iptables-save").chmod(0o755)
    found = looked(tmp_path, path=tmp_path / "bin").brought.drops
    assert found == (Chain("forward", "iptables", "filter", "FORWARD", by="rule"),)


def test_chains_are_read_with_iptables_if_nft_is_missing(tmp_path: Path, both: Path) -> None:
    before = f"iptables -P FORWARD DROP; iptables -N KUBE-SERVICES\nrm {both}/nft\n"
    if shutil.which("nft"):
        pytest.skip("nft is there")
    found = looked(tmp_path, before, both).brought
    assert found.drops == (Chain("forward", "iptables", "filter", "FORWARD"),)
    assert found.rules == {"KUBE-SERVICES"}


def test_rules_of_another_pod_network_are_found(tmp_path: Path, both: Path) -> None:
    left = "nft add table ip kube-proxy; nft add table ip mine; iptables -N KUBE-SERVICES; iptables -N cali-FORWARD"
    assert looked(tmp_path, left, both).brought.rules == {"kube-proxy", "KUBE-SERVICES", "cali-FORWARD"}


UFW = """\
Added user rules (see 'ufw status' for running firewall):
ufw allow 22/tcp
ufw route allow from 10.244.0.0/16 comment 'pods'
"""


@pytest.mark.parametrize("enabled", ["yes", "no"])
def test_rules_of_ufw_are_found_if_it_is_active(tmp_path: Path, enabled: str) -> None:
    put(tmp_path / "etc/ufw/ufw.conf", f"# on boot\nENABLED={enabled}\nLOGLEVEL=low\n")
    put(tmp_path / "bin/ufw", f"#!/bin/sh\ncat <<END\n{UFW}END\n")
    (tmp_path / "bin/ufw").chmod(0o755)
    rules = {"allow 22/tcp", "route allow from 10.244.0.0/16"}
    assert looked(tmp_path, path=tmp_path / "bin").brought.ufw == (rules if enabled == "yes" else None)


@pytest.mark.parametrize("active", [True, False])
def test_sources_that_firewalld_trusts_are_found_if_it_is_active(tmp_path: Path, active: bool) -> None:
    put(tmp_path / "bin/systemctl", f"#!/bin/sh\n[ $3 = firewalld ] && {'true' if active else 'false'}\n")
    put(tmp_path / "bin/firewall-cmd", "#!/bin/sh\necho 10.244.0.0/16 192.0.2.1\n")
    for command in (tmp_path / "bin").iterdir():
        command.chmod(0o755)
    trusted = {"10.244.0.0/16", "192.0.2.1"}
    assert looked(tmp_path, path=tmp_path / "bin").brought.firewalld == (trusted if active else None)
