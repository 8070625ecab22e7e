"""The files of every host."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from kubekeel import render
from kubekeel.certificates import KeyPair
from kubekeel.files import Directory, File, Tree, differing, watched
from kubekeel.machine import OWN_RESOLV_CONF, Machine
from kubekeel.needs import needs
from kubekeel.render import Target, dns_replicas
from tests.clusters import HOSTS, cluster
from tests.hosts import as_described, machine

KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"


def test_everyone_can_enter_the_folders_of_binaries() -> None:
    supply: Any = SimpleNamespace(binary=lambda name, _arch: SimpleNamespace(sha256=f"sha256-of-{name}"))
    node = cluster().node("m")
    pki: Any = None
    tree = render.node(Target(node, machine("m"), cluster(), pki, supply))
    for name in needs(node, cluster()).binaries:
        assert tree[f"/opt/kubekeel/store/sha256-of-{name}"] == Directory(0o755)


def test_kubelet_starts_with_labels_and_taints_and_their_change_restarts_nothing() -> None:
    supply: Any = SimpleNamespace(binary=lambda name, _arch: SimpleNamespace(sha256=f"sha256-of-{name}"))
    pki: Any = SimpleNamespace(leaf=lambda *_: KeyPair(b"", b""), authority=lambda _: b"")

    def kubelet(**labels: str) -> Tree:
        marks = {"labels": labels, "taints": {"dedicated:NoSchedule": "database"} if labels else {}}
        labelled = cluster(hosts=HOSTS | {"a": HOSTS["a"] | marks})
        return render.kubelet(Target(labelled.node("a"), machine("a"), labelled, pki, supply))

    allowed = {"disk": "ssd", "topology.kubernetes.io/zone": "1"}
    tree = kubelet(**allowed, **{"storage.kubernetes.io/tier": "fast", "node-restriction.kubernetes.io/tenant": "x"})
    labels = tree["/var/lib/kubelet/labels.env"]
    assert isinstance(labels, File)
    assert labels.content.decode().splitlines()[-1] == "LABELS=disk=ssd,topology.kubernetes.io/zone=1"
    taints = tree[f"{render.KUBELET_FOLDER}/40-taints.conf"]
    assert isinstance(taints, File)
    taint = {"key": "dedicated", "effect": "NoSchedule", "value": "database"}
    assert yaml.safe_load(taints.content)["registerWithTaints"] == [taint]
    hot = {"/var/lib/kubelet/labels.env", f"{render.KUBELET_FOLDER}/40-taints.conf"}
    assert differing(kubelet(), as_described(dict(tree))).keys() == hot
    assert not hot & watched(tree)


def kubelet_of(machine: Machine) -> Tree:
    """Return the files of kubelet on the node `a`, whose address is 192.0.2.2."""
    supply: Any = SimpleNamespace(binary=lambda name, _arch: SimpleNamespace(sha256=f"sha256-of-{name}"))
    pki: Any = SimpleNamespace(leaf=lambda *_: KeyPair(b"", b""), authority=lambda _: b"")
    return render.kubelet(Target(cluster().node("a"), machine, cluster(), pki, supply))


def text(tree: Tree, path: str) -> str:
    file = tree[path]
    assert isinstance(file, File)
    return file.content.decode()


@pytest.mark.parametrize(
    ("hostname", "overridden"), [("a", False), ("A", True), ("a.example.org", True)], ids=["same", "case", "domain"]
)
def test_kubelet_registers_its_node_under_the_inventory_s_name(hostname: str, overridden: bool) -> None:
    unit = text(kubelet_of(replace(machine("a"), hostname=hostname)), "/etc/systemd/system/kubelet.service")
    assert ("--hostname-override=a " in unit) is overridden


def test_pods_get_the_host_s_own_file_of_name_servers() -> None:
    tree = kubelet_of(machine("a"))
    assert OWN_RESOLV_CONF not in tree
    assert yaml.safe_load(text(tree, KUBELET_CONFIG))["resolvConf"] == "/etc/resolv.conf"


@pytest.mark.parametrize(
    ("name_servers", "lines"),
    [
        (("192.0.2.53", "192.0.2.54"), ["nameserver 192.0.2.53", "nameserver 192.0.2.54"]),
        # CoreDNS does not start with an empty list; nothing answers at the node's own address.
        ((), ["nameserver 192.0.2.2"]),
    ],
    ids=["loopback name servers left out", "no name server"],
)
def test_pods_never_get_an_empty_file_of_name_servers(name_servers: tuple[str, ...], lines: list[str]) -> None:
    tree = kubelet_of(replace(machine("a"), resolv_conf=OWN_RESOLV_CONF, name_servers=name_servers))
    assert text(tree, OWN_RESOLV_CONF).splitlines() == lines
    assert yaml.safe_load(text(tree, KUBELET_CONFIG))["resolvConf"] == OWN_RESOLV_CONF
    # Pods started later read the file; kubelet need not restart for it.
    assert OWN_RESOLV_CONF not in watched(tree)


@pytest.mark.parametrize(("nodes", "replicas"), [(1, 1), (2, 2), (32, 2), (33, 3), (100, 7)])
def test_the_number_of_dns_servers_follows_the_number_of_nodes(nodes: int, replicas: int) -> None:
    names = [f"n{number}" for number in range(nodes)]
    hosts: dict[str, dict[str, object]] = {name: {"address": f"192.0.2.{each}"} for each, name in enumerate(names)}
    groups = {"etcd": names[:1], "masters": names[:1], "minions": names}
    assert dns_replicas(cluster(groups, hosts)) == replicas
    assert dns_replicas(cluster(groups, hosts, dns={"replicas": 5})) == 5
