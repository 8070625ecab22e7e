"""The requirements of hosts: each fault and warning, with host, value and remedy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubekeel.identity import Identity
from kubekeel.membership import Member
from kubekeel.preflight import (
    COMMANDS,
    PACKAGES,
    Brought,
    Chain,
    DropIn,
    Hindrance,
    KernelSetting,
    Listener,
    Room,
    Tunnel,
    Unseen,
    faults,
    warnings,
)
from tests import clusters
from tests.hosts import ADDRESSES, brought, cluster, fit, looks, machine, route


def listening(address: str, port: int, ours: bool = False) -> dict[str, object]:
    return {"listeners": (Listener(address, port, "nginx, process 7", ours),)}


def on(folder: str, **values: object) -> dict[str, object]:
    room = Room(size=20_000, free=19_000, inodes=1000, free_inodes=900, options=frozenset({"rw"}), kind="ext2/ext3")
    return {"rooms": {folder: replace(room, **values)}}  # type: ignore[arg-type]


def found(host: str, **changes: object) -> list[str]:
    """Return the faults if one host has these values."""
    return faults(cluster(), looks(**{host: replace(fit(host), **changes)}))  # type: ignore[arg-type]


def test_fit_hosts_have_no_faults_and_no_warnings() -> None:
    assert faults(cluster(), looks()) == []
    assert warnings(cluster(), looks()) == []


NEGATIVE: dict[str, tuple[str, dict[str, object], str]] = {
    "another run": (
        "a",
        {"held_by": "ann@desk, process 7, since noon"},
        "a: is in use by another run (ann@desk, process 7, since noon); wait",
    ),
    "no Linux": ("a", {"kernel": "FreeBSD 14.1", "systemd": 0}, "a: does not run Linux (FreeBSD 14.1); take another"),
    "no systemd": ("a", {"systemd": 0}, "a: does not run systemd (Some Linux 1); take a distribution with"),
    "old systemd": ("a", {"systemd": 247}, "a: has too old a systemd (247); upgrade the distribution"),
    "old kernel": (
        "a",
        {"kernel": "Linux 5.10.0-28-amd64"},
        "a: has too old a kernel for nftables (Linux 5.10.0-28-amd64); boot 5.13 or newer, or set kube_proxy_mode",
    ),
    "other architecture": (
        "a",
        {"machine": replace(machine("a"), arch="arm64")},
        "a: does not match its arch amd64 (arm64); correct arch in the inventory",
    ),
    "cgroup controllers": (
        "a",
        {"controllers": frozenset({"cpu", "cpuset", "pids"})},
        "a: lacks cgroup controllers (memory); enable",
    ),
    "commands": (
        "a",
        {"commands": frozenset({*COMMANDS, "apt-get"}) - {"ss", "ip"}},
        "a: lacks commands (ip, ss); install them",
    ),
    "package manager": (
        "a",
        {"commands": frozenset({*COMMANDS, "modprobe"})},
        "a: lacks commands, and none of apt-get, dnf, zypper to install them (ip6tables, iptables, nft); install them",
    ),
    "commands off the PATH": (
        "a",
        {"off_path": frozenset({"/usr/sbin/ss"})},
        "a: has commands that are not on the PATH (/usr/sbin/ss); add their folders to the login's PATH",
    ),
    "modules": (
        "a",
        {"modules_gone": True},
        "a: runs a kernel whose modules are gone (Linux 5.13.0-1-generic); reboot",
    ),
    "no kmsg": ("a", {"kmsg": False}, "a: has no /dev/kmsg, without which kubelet does not start (Some Linux 1); give"),
    "read-only folders": (
        "a",
        {"read_only": frozenset({"/usr/local"})},
        "a: has folders that are not writable (/usr/local); mount them writable",
    ),
    "noexec": (
        "a",
        on("/opt/kubekeel", options=frozenset({"rw", "noexec"})),
        "a: cannot start programs in /opt/kubekeel (mounted noexec); mount it without noexec",
    ),
    "images on NFS": (
        "a",
        on("/var/lib/containerd", kind="nfs"),
        "a: has a file system in /var/lib/containerd that containers cannot use (nfs); take ext4",
    ),
    "an old xfs": (
        "a",
        on("/var/lib/containerd", kind="xfs", typeless=True),
        "a: has a file system in /var/lib/containerd that containers cannot use (xfs with ftype=0); make it with",
    ),
    "etcd on NFS": (
        "m",
        on("/var/lib/etcd", kind="nfs"),
        "m: has a file system in /var/lib/etcd that is on another host (nfs); give etcd a disk",
    ),
    "space for images, by kubelet's limit": (
        "a",
        on("/var/lib/containerd", free=2999),
        "a: is short of room in /var/lib/containerd: kubelet keeps 15 % free (14 % of 20000 MiB); make room",
    ),
    "space for pods, by kubelet's limit": (
        "a",
        on("/var/lib/kubelet", free=1999),
        "a: is short of room in /var/lib/kubelet: kubelet keeps 10 % free (9 % of 20000 MiB); make room",
    ),
    "inodes": (
        "a",
        on("/var/lib/kubelet", free_inodes=49),
        "a: is short of inodes in /var/lib/kubelet: kubelet keeps 5 % free (49 of 1000); make room",
    ),
    "swap": (
        "a",
        {"swaps": ("/dev/sda2, 2047 MiB",)},
        "a: has swap, and kubelet refuses to start with it (/dev/sda2, 2047 MiB);"
        " run swapoff -a, and remove the swap from /etc/fstab, or the program that makes it, like zram-generator",
    ),
    "memory of a master": (
        "m",
        {"machine": replace(machine("m"), memory=1699)},
        "m: has less than 1700 MiB of memory (1699 MiB); give it more",
    ),
    "memory of a minion": (
        "a",
        {"machine": replace(machine("a"), memory=699)},
        "a: has less than 700 MiB of memory (699 MiB); give it more",
    ),
    "disk": (
        "a",
        {"disks": {"/opt/kubekeel": 1023, "/var/lib/containerd": 2048}},
        "a: has less than 1024 MiB free in /opt/kubekeel (1023 MiB); make room",
    ),
    "disk of a host in use": (
        "a",
        {"disks": {"/opt/kubekeel": 2048, "/var/lib/containerd": 255}, "installed": True},
        "a: has less than 256 MiB free in /var/lib/containerd (255 MiB); make room",
    ),
    "no route to services": (
        "a",
        {"no_route_to_services": True},
        "a: has no route to the addresses of services (10.96.0.0/16); give it a default route; where there is no",
    ),
    "a kernel without vxlan": (
        "a",
        {"modules_lacking": frozenset({"vxlan"})},
        "a: lacks the kernel module of the pod network (vxlan); install the kernel's extra modules",
    ),
    "a link to a disk that is not mounted": (
        "a",
        {"astray": {"/var/lib/etcd": "/data/etcd"}},
        "a: has a link at /var/lib/etcd that does not lead to a folder (/data/etcd); mount its target, or remove it",
    ),
    "clock ahead": ("a", {"clock_off": 11.0}, "a: has a clock ahead of this machine's (11 s); synchronize both by NTP"),
    "clock behind": (
        "a",
        {"clock_off": -3600.0},
        "a: has a clock behind this machine's (3600 s); synchronize both by NTP",
    ),
    "port of every address": (
        "a",
        listening("*", 10250),
        "a: has port 10250 in use, which kubelet needs (nginx, process 7); stop that",
    ),
    "port of the loopback address": (
        "a",
        listening("127.0.0.1", 7443),
        "a: has port 7443 in use, which api-balancer needs (nginx, process 7)",
    ),
    "port of one address, in use on all": (
        "m",
        listening("[::]", 2380),
        "m: has port 2380 in use, which etcd needs (nginx, process 7)",
    ),
    "port of all addresses, in use on one": (
        "m",
        listening("192.0.2.1", 6443),
        "m: has port 6443 in use, which kube-apiserver needs (nginx, process 7)",
    ),
    "no such address": (
        "a",
        {"addresses": frozenset({"198.51.100.7", "10.0.0.1"})},
        "a: does not have its address 192.0.2.2 (10.0.0.1, 198.51.100.7); correct address in the inventory",
    ),
    "address of another host": (
        "a",
        {"addresses": frozenset(ADDRESSES.values())},
        "a: has the address of m, too (192.0.2.1); remove it from one of them\n"
        "a: has the address of b, too (192.0.2.3); remove it from one of them",
    ),
    "host name": (
        "b",
        {"machine": machine("a")},
        "a, b: have the same host name (a); give each its own with hostnamectl set-hostname",
    ),
    "machine-id": ("b", {"machine_id": "id of m"}, "m, b: have the same machine-id (id of m); correct ssh_hostname if"),
    "route within the pods'": (
        "a",
        {"routes": (route("10.244.7.0/24", "192.0.2.254"),)},
        "a: has a route that overlaps pod_network 10.244.0.0/16 (10.244.7.0/24 via 192.0.2.254 eth0); remove it",
    ),
    "route within the services'": (
        "a",
        {"routes": (route("10.96.0.0/16", device="tun0"),)},
        "a: has a route that overlaps service_network 10.96.0.0/16 (10.96.0.0/16 tun0); remove it, or move",
    ),
    "port of UDP": (
        "a",
        {"listeners": (Listener("0.0.0.0", 8472, "openvpn, process 7", protocol="udp"),)},
        "a: has UDP port 8472 in use, which flannel needs (openvpn, process 7); stop that",
    ),
    "a vxlan device that does not share its port": (
        "a",
        {"tunnels": (Tunnel("vx0", "vxlan", 8472, 0, apart=True),)},
        "a: has a device on UDP port 8472, which flannel needs (vx0); ip link delete vx0, or give it",
    ),
    "a vxlan device of flannel's number": (
        "a",
        {"tunnels": (Tunnel("old.1", "vxlan", 8472, 1),)},
        "a: has a device on UDP port 8472, which flannel needs (old.1); ip link delete old.1",
    ),
    "a geneve device": (
        "a",
        {"tunnels": (Tunnel("g0", "geneve", 8472, 5),)},
        "a: has a device on UDP port 8472, which flannel needs (g0); ip link delete g0",
    ),
    "another containerd": (
        "a",
        brought(
            units={"containerd.service": "/usr/lib/systemd/system/containerd.service"},
            filled={
                "/etc/containerd/config.toml": "/etc/containerd/config.toml",
                "/var/lib/containerd": "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
            },
        ),
        "a: has a unit containerd.service that is not Kubekeel's (/usr/lib/systemd/system/containerd.service); remove\n"
        "a: has a file in /etc/containerd/config.toml that is not Kubekeel's (/etc/containerd/config.toml);\n"
        "a: has a file in /var/lib/containerd that is not Kubekeel's (/var/lib/containerd/io.containerd",
    ),
    "an earlier kubelet": (
        "a",
        brought(
            units={"kubelet.service": "/usr/lib/systemd/system/kubelet.service"},
            drop_ins=(DropIn("kubelet.service", "/usr/lib/x.d/10-kubeadm.conf", replaces=True),),
            filled={"/etc/kubernetes": "/etc/kubernetes/kubelet.conf"},
        ),
        "a: has a unit kubelet.service that is not Kubekeel's (/usr/lib/systemd/system/kubelet.service); remove the\n"
        "a: has a drop-in that replaces what kubelet.service starts (/usr/lib/x.d/10-kubeadm.conf); remove it\n"
        "a: has a file in /etc/kubernetes that is not Kubekeel's (/etc/kubernetes/kubelet.conf); move it",
    ),
    "another drop-in on a host in use": (
        "a",
        {
            "installed": True,
            **brought(drop_ins=(DropIn("kubelet.service", "/usr/lib/x.d/10-kubeadm.conf", replaces=True),)),
        },
        "a: has a drop-in that replaces what kubelet.service starts (/usr/lib/x.d/10-kubeadm.conf); remove it",
    ),
    "files that Kubekeel would replace": (
        "a",
        brought(
            filled={"/etc/kubernetes": "/etc/kubernetes/kubelet.conf"},
            replaced=frozenset({"/usr/local/bin/kubectl", "/etc/crictl.yaml", "/etc/kubernetes/kubelet.conf"}),
        ),
        "a: has a file in /etc/kubernetes that is not Kubekeel's (/etc/kubernetes/kubelet.conf); move it\n"
        "a: has files that Kubekeel would replace (/etc/crictl.yaml, /usr/local/bin/kubectl); move it away",
    ),
    "Docker on a host that becomes a minion": (
        "a",
        {
            "installed": True,
            "identity": Identity(cluster="test", roles=frozenset({"etcd"})),
            **brought(filled={"/var/lib/containerd": "/var/lib/containerd/x"}),
        },
        "a: has a file in /var/lib/containerd that is not Kubekeel's (/var/lib/containerd/x); move it away",
    ),
    "another network's configuration": (
        "a",
        brought(cni=frozenset({"05-cilium.conflist", "87-podman.conflist"})),
        "a: has CNI configurations that are not Kubekeel's (05-cilium.conflist, 87-podman.conflist); remove them from",
    ),
    "a node of another distribution": (
        "a",
        brought(others=frozenset({"k3s-agent.service"})),
        "a: is a node of k3s (k3s-agent.service); uninstall it as",
    ),
    "a distribution's etcd": (
        "m",
        brought(
            units={"etcd.service": "/usr/lib/systemd/system/etcd.service"},
            filled={"/var/lib/etcd": "/var/lib/etcd/default/member/snap/db"},
        ),
        "m: has a unit etcd.service that is not Kubekeel's (/usr/lib/systemd/system/etcd.service); remove the package\n"
        "m: has a file in /var/lib/etcd that is not Kubekeel's (/var/lib/etcd/default/member/snap/db); move it",
    ),
    "remains of an earlier network in the kernel": (
        "a",
        brought(
            mounts=frozenset({"/var/lib/kubelet/pods/1/volumes/x"}),
            devices=frozenset({"kube-ipvs0", "cni0"}),
            rules=frozenset({"KUBE-SERVICES"}),
        ),
        "a: has volumes of an earlier kubelet mounted (/var/lib/kubelet/pods/1/volumes/x); unmount them\n"
        "a: has devices of another pod network (cni0, kube-ipvs0); delete each (ip link delete NAME)\n"
        "a: has kernel rules of another pod network (KUBE-SERVICES); reboot it",
    ),
    "a user without a group": (
        "a",
        brought(user_without_group=True),
        "a: has a user etcd and no group etcd (/etc/group); groupadd --system etcd",
    ),
    "a chain that drops": (
        "a",
        brought(drops=(Chain("forward", "inet", "own", "ward"),)),
        "a: drops pods' traffic by the policy of a chain (inet own ward); nft insert rule inet own ward ip saddr"
        " 10.244.0.0/16 accept && nft insert rule inet own ward ip daddr 10.244.0.0/16 accept, and at each boot",
    ),
    "a chain of iptables that drops": (
        "a",
        brought(drops=(Chain("forward", "iptables", "filter", "FORWARD"),)),
        "a: drops pods' traffic by the policy of a chain (iptables filter FORWARD); iptables -I FORWARD -s"
        " 10.244.0.0/16 -j ACCEPT && iptables -I FORWARD -d 10.244.0.0/16 -j ACCEPT, and at each boot",
    ),
    "a rule that rejects everything": (
        "a",
        brought(drops=(Chain("forward", "ip", "filter", "FORWARD", by="rule"),)),
        "a: drops pods' traffic by the rule of a chain (ip filter FORWARD); nft insert rule ip filter FORWARD ip saddr"
        " 10.244.0.0/16 accept && nft insert rule ip filter FORWARD ip daddr 10.244.0.0/16 accept, and at each boot",
    ),
    "firewalld": (
        "a",
        brought(firewalld=frozenset({"192.0.2.1"}), drops=(Chain("forward", "inet", "firewalld", "filter"),)),
        "a: has a firewall that drops traffic between pods and nodes (firewalld); firewall-cmd --permanent"
        " --zone=trusted --add-source=10.244.0.0/16 --add-source=192.0.2.3 && firewall-cmd --reload",
    ),
    "ufw": (
        "m",
        brought(ufw=frozenset({"allow 22/tcp", "allow from 192.0.2.2"})),
        "m: has a firewall that drops traffic between pods and nodes (ufw); ufw allow from 10.244.0.0/16 && ufw"
        " allow from 192.0.2.3 && ufw route allow from 10.244.0.0/16 && ufw route allow to 10.244.0.0/16 && ufw allow"
        " 6443/tcp",
    ),
    "route that spans both": (
        "a",
        {"routes": (route("10.0.0.0/8", "192.0.2.254"),)},
        "a: has a route that overlaps pod_network 10.244.0.0/16 (10.0.0.0/8 via 192.0.2.254 eth0); remove it\n"
        "a: has a route that overlaps service_network 10.96.0.0/16 (10.0.0.0/8 via 192.0.2.254 eth0); remove it",
    ),
    "route to a few pods of a host in use": (
        "a",
        {"routes": (route("10.244.7.0/25", "192.0.2.9"),), "installed": True},
        "a: has a route that overlaps pod_network 10.244.0.0/16 (10.244.7.0/25 via 192.0.2.9 eth0); remove it",
    ),
    "route within the pods' of a host in use": (
        "a",
        {"routes": (route("10.244.0.0/16", device="cali0"),), "installed": True},
        "a: has a route that overlaps pod_network 10.244.0.0/16 (10.244.0.0/16 cali0); remove it",
    ),
}


@pytest.mark.parametrize("case", NEGATIVE)
def test_a_fault_names_host_value_and_remedy(case: str) -> None:
    host, changes, expected = NEGATIVE[case]
    lines = found(host, **changes)
    assert len(lines) == len(expected.splitlines()), lines
    for line, beginning in zip(lines, expected.splitlines(), strict=True):
        assert line.startswith(beginning)
        assert line.count("; ") >= 1


@pytest.mark.parametrize("hindrance", Hindrance)
def test_a_host_that_cannot_be_looked_at_is_named_with_its_error(hindrance: Hindrance) -> None:
    (line,) = faults(cluster(), looks(b=Unseen(hindrance, "timed out")))
    assert line.startswith(f"b: {hindrance.value[0]} (timed out); ")


POSITIVE: dict[str, tuple[str, dict[str, object]]] = {
    "a port that Kubekeel itself uses": ("a", listening("*", 10250, ours=True)),
    "a port that no role of the host needs": ("a", listening("*", 6443)),
    "a loopback port on another address": ("a", listening("192.0.2.2", 7443)),
    "routes of flannel": (
        "a",
        {
            "routes": (
                route("10.244.1.0/24", device="cni0"),
                route("10.244.2.0/24", "10.244.2.0", device="flannel.1"),
                route("10.244.3.0/24", "192.0.2.3"),
            )
        },
    ),
    "a default route in two halves": ("a", {"routes": (route("0.0.0.0/1", "10.8.0.1"), route("128.0.0.0/1"))}),
    "a disk that its first run has filled": (
        "a",
        {"disks": {"/opt/kubekeel": 256, "/var/lib/containerd": 256}, "installed": True},
    ),
    "no package manager where nothing is missing": ("a", {"commands": frozenset({*COMMANDS, *PACKAGES["nftables"]})}),
    "etcd's disk on a host without etcd": ("a", on("/var/lib/etcd", kind="nfs")),
    "a file system that counts no inodes": ("a", on("/var/lib/kubelet", inodes=0, free_inodes=0)),
    "enough space for kubelet": ("a", on("/var/lib/containerd", free=3000)),
    "a vxlan device like flannel's with another number": ("a", {"tunnels": (Tunnel("vx1", "vxlan", 8472, 7),)}),
    "a vxlan device of another port": ("a", {"tunnels": (Tunnel("vx1", "vxlan", 4789, 1, apart=True),)}),
    "flannel's own device": ("a", {"tunnels": (Tunnel("flannel.1", "vxlan", 8472, 1),)}),
    "data of Kubekeel's own containerd": (
        "a",
        {
            "installed": True,
            **brought(
                own_units=frozenset({"containerd.service"}),
                filled={"/var/lib/containerd": "/var/lib/containerd/x", "/etc/kubernetes": "/etc/kubernetes/x"},
                cni=frozenset({"00-multus.conf"}),
            ),
        },
    ),
    "etcd on a host without that role": (
        "a",
        brought(units={"etcd.service": "/usr/lib/systemd/system/etcd.service"}, filled={"/var/lib/etcd": "/x"}),
    ),
    "a drop-in for a proxy": (
        "a",
        brought(drop_ins=(DropIn("containerd.service", "/etc/x.d/proxy.conf", replaces=False),)),
    ),
    "a chain that keeps others out": ("a", brought(drops=(Chain("input", "inet", "own", "in"),))),
    "firewalld that trusts all": (
        "a",
        brought(firewalld=frozenset({"10.244.0.0/16", "192.0.2.1", "192.0.2.3"})),
    ),
    "an unreadable product UUID": ("a", {"product_uuid": ""}),
}


@pytest.mark.parametrize("case", POSITIVE)
def test_a_fit_host_may_have(case: str) -> None:
    host, changes = POSITIVE[case]
    assert found(host, **changes) == []


def test_every_fault_of_every_host_is_named_at_once() -> None:
    lines = faults(
        cluster(),
        looks(
            m=Unseen(Hindrance.AWAY, "timed out"),
            a=replace(fit("a"), machine=replace(machine("a"), memory=500), swaps=("/swap, 1 MiB",), clock_off=60.0),
            b=replace(fit("b"), machine=machine("a"), systemd=0),
        ),
    )
    assert [line.partition(":")[0] for line in lines] == ["m", "a", "a", "a", "b", "a, b"]


def test_mode_iptables_needs_no_new_kernel_and_no_nft() -> None:
    commands = frozenset({*COMMANDS, *PACKAGES["iptables"]})
    assert "nft" not in commands
    old = replace(fit("a"), kernel="Linux 4.19.0", commands=commands)
    assert faults(cluster(kube_proxy_mode="iptables"), looks(a=old)) == []
    older = replace(old, kernel="Linux 4.18.0-553.el8")
    (line,) = faults(cluster(kube_proxy_mode="iptables"), looks(a=older))
    assert line == "a: has too old a kernel (Linux 4.18.0-553.el8); boot 4.19 or newer"


def test_mode_nftables_needs_iptables_too_since_flanneld_cleans_up_with_it() -> None:
    (line,) = found("a", commands=frozenset({*COMMANDS, "nft", "modprobe"}))
    assert (
        line == "a: lacks commands, and none of apt-get, dnf, zypper to install them (ip6tables, iptables);"
        " install them by hand"
    )


def test_a_file_that_overrides_kernel_settings_is_a_warning() -> None:
    other = "/etc/sysctl.d/zzz.conf"
    late = (
        KernelSetting(other, "net.ipv4.ip_forward", "0"),
        KernelSetting(other, "net.ipv4.tcp_keepalive_time", "30"),
        KernelSetting("/etc/sysctl.conf", "vm.swappiness", "1"),
    )
    assert warnings(cluster(), looks(a=replace(fit("a"), late_settings=late))) == [
        "a: has a kernel setting in /etc/sysctl.d/zzz.conf that overrides Kubekeel's (net.ipv4.ip_forward = 0);"
        " remove it there; 1 is needed"
    ]


def test_a_member_of_etcd_must_reach_others_from_its_own_address() -> None:
    sources = {"192.0.2.1": "10.0.0.1", "192.0.2.2": "192.0.2.2", "192.0.2.3": "192.0.2.2"}
    several = looks(a=replace(fit("a"), sources=sources))
    (line,) = faults(cluster(etcd="mab"), several)
    assert line.startswith(
        "a: reaches etcd on m from another address than its 192.0.2.2 (10.0.0.1); put that address into the"
    )
    assert faults(cluster(), several) == []


def test_members_start_to_check_the_names_of_peers_in_one_run() -> None:
    earlier = {name: replace(fit(name), etcd_takes_any_peer=True) for name in "mab"}
    assert faults(cluster(etcd="mab"), earlier) == []
    (line,) = faults(cluster(etcd="mab"), {"a": earlier["a"]})
    assert line.startswith("a: would refuse members of etcd with certificates of an earlier version (b, m); ")
    assert faults(cluster(etcd="mab"), {"a": fit("a")}) == []
    assert faults(cluster(etcd="m"), {"a": replace(earlier["a"], has_own_lease=True)}) == []


def test_a_new_node_needs_a_member_of_etcd_in_the_run() -> None:
    (line,) = faults(cluster(), {"a": fit("a")})
    assert line == (
        "a: has no subnet reserved in etcd yet, and no member of etcd is in this run (m); add one: --limit a --limit m"
    )
    assert faults(cluster(), {name: fit(name) for name in "ma"}) == []
    assert faults(cluster(pod_network_provider="none"), {"a": fit("a")}) == []


def test_only_hosts_of_the_run_are_checked() -> None:
    assert faults(cluster(), {"a": replace(fit("a"), has_own_lease=True)}) == []


def test_cgroup_v1_is_a_warning() -> None:
    old = looks(a=replace(fit("a"), machine=replace(machine("a"), cgroup_v2=False)))
    assert faults(cluster(), old) == []
    (line,) = warnings(cluster(), old)
    assert line.startswith("a: uses cgroup v1, which Kubernetes is about to drop (Some Linux 1); boot with systemd.")


def test_a_missing_name_server_for_pods_is_a_warning() -> None:
    own = replace(machine("a"), resolv_conf="/etc/kubernetes/resolv.conf")
    lacking, others = (
        replace(fit("a"), machine=own),
        replace(fit("a"), machine=replace(own, name_servers=("192.0.2.9",))),
    )
    (line,) = warnings(cluster(), looks(a=lacking))
    assert line.startswith("a: has no name server that pods can use (/etc/resolv.conf); ")
    assert faults(cluster(), looks(a=lacking)) == []
    assert warnings(cluster(), looks(a=others)) == []


def test_a_node_missing_in_the_inventory_is_a_warning() -> None:
    (line,) = warnings(cluster(), looks(m=replace(fit("m"), nodes=frozenset({"m", "a", "old"}))))
    assert line == (
        "old: is a node of the cluster, but not in the inventory (seen on m); put it back, or remove it:"
        " actions/remove_node.py --data node=old"
    )


def test_a_product_uuid_of_two_hosts_is_a_warning() -> None:
    (line,) = warnings(cluster(), looks(a=replace(fit("a"), product_uuid="uuid of m")))
    assert line == "m, a: have the same product UUID (uuid of m); make new machines rather than copies"


def test_a_route_to_a_former_node_is_only_a_warning() -> None:
    routes = (route("10.244.7.0/24", "192.0.2.9"),)
    left = looks(a=replace(fit("a"), routes=routes, installed=True))
    assert faults(cluster(), left) == []
    (line,) = warnings(cluster(), left)
    assert line.startswith(
        "a: has a route in pod_network 10.244.0.0/16 for a node that is not in the inventory"
        " (10.244.7.0/24 via 192.0.2.9"
    )


def test_a_wide_route_is_only_a_warning_on_a_host_in_use() -> None:
    routes = (route("10.0.0.0/8", "192.0.2.254"),)
    late = looks(a=replace(fit("a"), routes=routes, installed=True))
    assert faults(cluster(), late) == []
    assert [line.partition(" (")[0] for line in warnings(cluster(), late)] == [
        "a: has a route that spans pod_network 10.244.0.0/16",
        "a: has a route that spans service_network 10.96.0.0/16",
    ]


def test_a_chain_that_gets_a_rule_of_flannel_is_accepted() -> None:
    dropping = replace(fit("a"), brought=Brought(drops=(Chain("forward", "ip", "filter", "FORWARD"),)))
    assert len(faults(cluster(), looks(a=dropping))) == 1
    assert faults(cluster(kube_proxy_mode="iptables"), looks(a=dropping)) == []


def test_a_rule_that_drops_everything_comes_before_the_rule_of_flannel() -> None:
    dropping = replace(fit("a"), brought=Brought(drops=(Chain("forward", "ip", "filter", "FORWARD", by="rule"),)))
    assert len(faults(cluster(kube_proxy_mode="iptables"), looks(a=dropping))) == 1


def test_a_firewall_is_only_a_warning_on_a_host_in_use() -> None:
    dropping = Brought(drops=(Chain("forward", "inet", "own", "ward"),))
    there = looks(a=replace(fit("a"), brought=dropping, installed=True))
    assert faults(cluster(), there) == []
    [line] = warnings(cluster(), there)
    assert line.startswith("a: drops pods' traffic by the policy of a chain (inet own ward); nft insert rule")


WARNED: dict[str, tuple[dict[str, object], str]] = {
    "space on a host in use": (
        {"installed": True, **on("/var/lib/containerd", free=2999)},
        "a: is short of room in /var/lib/containerd: kubelet keeps 15 % free (14 % of 20000 MiB); make room",
    ),
    "an unsynchronized clock": (
        {"clock_alone": True},
        "a: does not synchronize its clock (Some Linux 1); install chrony",
    ),
    "SELinux": ({"selinux": True}, "a: enforces SELinux, which is not tested (Some Linux 1); run setenforce 0"),
    "a drop-in for a proxy": (
        brought(drop_ins=(DropIn("containerd.service", "/etc/x.d/proxy.conf", replaces=False),)),
        "a: has a drop-in that changes containerd.service (/etc/x.d/proxy.conf); check that it fits",
    ),
    "a chain that keeps others out": (
        brought(drops=(Chain("input", "inet", "own", "inward"),)),
        "a: drops incoming traffic by the policy of a chain (inet own inward); check that it accepts TCP 10250,"
        " UDP 8472 from the other hosts and pods (10.244.0.0/16); actions/check.py tests hosts",
    ),
    "Docker": (brought(others=frozenset({"docker.service"})), "a: runs Docker, too (docker.service); "),
    "another distribution on a host in use": (
        {
            "installed": True,
            **brought(own_units=frozenset({"containerd.service"}), others=frozenset({"k3s.service"})),
        },
        "a: has k3s installed, too (k3s.service); uninstall it as",
    ),
    "a CNI configuration that comes first": (
        {
            "installed": True,
            **brought(own_units=frozenset({"containerd.service"}), cni=frozenset({"00-multus.conf", "99-x.conf"})),
        },
        "a: has a CNI configuration that comes before Kubekeel's (00-multus.conf); containerd uses the first file",
    ),
}


@pytest.mark.parametrize("case", WARNED)
def test_a_warning_names_host_value_and_remedy(case: str) -> None:
    changes, expected = WARNED[case]
    there = looks(a=replace(fit("a"), **changes))  # type: ignore[arg-type]
    assert faults(cluster(), there) == []
    [line] = warnings(cluster(), there)
    assert line.startswith(expected)


def test_a_kernel_without_vxlan_fits_where_nothing_uses_vxlan_and_in_a_container() -> None:
    lacking = replace(fit("a"), modules_lacking=frozenset({"vxlan"}))
    assert faults(cluster(flannel_backend="host-gw"), looks(a=lacking)) == []
    assert faults(cluster(), looks(a=replace(lacking, container=True))) == []


def test_the_space_that_a_run_needs_is_checked_before_it() -> None:
    there = looks(a=replace(fit("a"), **on("/var/lib/containerd", free=3500)))  # type: ignore[arg-type]
    assert faults(cluster(), there) == []
    [line] = faults(cluster(), there, {"a": {"/var/lib/containerd": 600}})
    assert line.startswith("a: is short of room in /var/lib/containerd: kubelet keeps 15 % free (14 % of 20000 MiB); ")


def test_a_control_plane_on_one_processor_is_a_warning() -> None:
    there = looks(m=replace(fit("m"), processors=1), a=replace(fit("a"), processors=1))
    [line] = warnings(cluster(), there)
    assert line.startswith("m: has one processor for a control plane (Some Linux 1); give it two")


# Former roles.

ADMIN = frozenset({"/etc/kubernetes/admin.conf"})


def test_a_host_that_loses_a_role_needs_a_master_in_the_run() -> None:
    former = replace(fit("a"), leftovers=ADMIN, has_own_lease=True)
    assert faults(cluster(), looks(a=former)) == []
    [fault] = faults(cluster(), {"a": former, "b": replace(fit("b"), has_own_lease=True)})
    assert fault.startswith("a: still has parts of former roles, and no master is in this run (control")


def test_the_last_master_that_other_hosts_know_keeps_its_role() -> None:
    former = replace(fit("a"), leftovers=ADMIN, balanced=frozenset({ADDRESSES["a"]}))
    assert faults(cluster(), looks(a=former)) == []
    [fault] = faults(cluster(), {"a": former, "m": fit("m")})
    assert fault.startswith("a: is the last master that hosts outside of this run know (b); deploy to all hosts")
    with_another = replace(former, balanced=frozenset({ADDRESSES["a"], ADDRESSES["m"]}))
    assert faults(cluster(), {"a": with_another, "m": fit("m")}) == []


OF_MINION = frozenset({"/opt/kubekeel/bin/kube-proxy", "/opt/kubekeel/bin/kubelet"})
API = Listener("*", 6443, "kube-apiserver", ours=True)
MEMBERS = (Member("1", "m", "https://192.0.2.1:2380", learner=False, healthy=False),)


def leaving(**master: object) -> list[str]:
    """Return the faults of a run in which `b` stops being a Node, and the master looks like this."""
    groups = {"etcd": ["m", "a", "b"], "masters": ["m"], "minions": ["a"]}
    there = looks(m=replace(fit("m"), **master), b=replace(fit("b"), leftovers=OF_MINION))  # type: ignore[arg-type]
    return faults(clusters.cluster(groups), there)


def test_a_host_stops_being_a_node_while_the_api_and_etcd_answer() -> None:
    assert leaving(listeners=(API,), members=MEMBERS) == []


def test_a_host_that_nobody_can_drain_stays_a_node() -> None:
    [fault] = leaving(members=MEMBERS)
    assert fault.startswith("b: stops being a Node, and no API server of this run's hosts serves to drain it (kube-")


def test_a_host_whose_lease_nobody_can_delete_keeps_its_pods() -> None:
    [fault] = leaving(listeners=(API,))
    assert fault.startswith("b: gives its pods' network back, and no quorum of etcd answers on this run's hosts (kube-")
    assert fault.endswith("; put it back into its groups and deploy, then make this change")
