"""The remains of a part on a host that no longer has it, and the marks that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kubekeel import parts
from kubekeel.cluster import Cluster, Node
from kubekeel.files import Absent, Directory
from kubekeel.parts import (
    API_VIP,
    CONTROL_PLANE,
    ETCD,
    ETCD_METRICS,
    KUBE_PROXY,
    KUBE_PROXY_METRICS,
    NETWORK_POLICIES,
    PARTS,
    PODS,
    former,
    marks,
    remains,
)
from tests.clusters import GROUPS, cluster

KEYS_OF_A_MASTER = {
    *(
        "/etc/kubernetes/admin.conf",
        "/etc/kubernetes/encryption-config.yaml",
        "/etc/kubernetes/controller-manager.conf",
    ),
    *(f"/etc/kubernetes/pki/{name}.key" for name in ("admin", "sa", "apiserver", "apiserver-etcd-client")),
    "/etc/kubernetes/kube-controller-manager/sa.key",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
}
OF_THE_ADDRESS = {f"/opt/kubekeel/libexec/{name}" for name in ("check-api", "hold-api-address")}
OF_METRICS = {
    part: {f"/etc/kubernetes/pki/{name}-metrics{end}" for end in ("-ca.crt", ".crt", ".key")}
    for part, name in ((ETCD_METRICS, "etcd"), (KUBE_PROXY_METRICS, "kube-proxy"))
}
OF_POLICIES = {
    *(f"/etc/kubernetes/{name}" for name in ("kube-network-policies.conf", "pki/kube-network-policies.crt")),
    "/etc/kubernetes/pki/kube-network-policies.key",
    "/opt/kubekeel/bin/kube-network-policies",
}
VIP = "192.0.2.100"
ALL_PARTS = {"api_vip": VIP, "metrics": True, "network_policy": "kube-network-policies"}
ONLY_ETCD = cluster(GROUPS | {"minions": ["a"]})


def grouped(**groups: Sequence[str]) -> Cluster:
    return cluster(GROUPS | groups)


def everything(node: Node, of: Cluster) -> Mapping[str, object]:
    """Return all paths that a deploy makes on a node."""
    return parts.described(parts.placeholder(node, of))


def test_a_minion_has_none_of_the_files_of_masters() -> None:
    minion = cluster().node("a")
    absent = {path for path, entry in everything(minion, cluster()).items() if entry == Absent()}
    assert absent >= KEYS_OF_A_MASTER
    assert absent >= set(marks(minion, cluster()))
    assert "/etc/kubernetes/pki/ca.crt" not in absent


def test_a_host_with_all_roles_has_no_mark_of_a_former_part() -> None:
    all_roles = cluster(GROUPS | {"minions": ["m", "a", "b"]}, **ALL_PARTS)
    assert marks(all_roles.node("m"), all_roles) == []


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_all_files_of_a_part_are_removed(part: parts.Part) -> None:
    """The remains list all its files, except those that the host's other parts need."""
    node, of = {
        API_VIP: (cluster().node("m"), cluster()),
        ETCD_METRICS: (cluster().node("m"), cluster()),
        KUBE_PROXY_METRICS: (cluster().node("m"), cluster()),
        CONTROL_PLANE: (cluster().node("a"), cluster()),
        KUBE_PROXY: (cluster().node("m"), cluster(register_masters=False)),
        NETWORK_POLICIES: (cluster().node("a"), cluster()),
        PODS: (ONLY_ETCD.node("b"), ONLY_ETCD),
        ETCD: (grouped(etcd=["m"]).node("b"), grouped(etcd=["m"])),
    }[part]
    left = remains(part, node, of)
    before = everything(replace(node, roles=frozenset({"etcd", "masters", "minions"})), cluster(**ALL_PARTS))
    now = {path for path, entry in everything(node, of).items() if entry != Absent()}
    tree = part.tree(parts.placeholder(replace(node, roles=frozenset({"etcd", "masters", "minions"})), of))
    files = {path for path in tree if path in before and not isinstance(tree[path], Directory)} - now
    within = tuple(f"{folder}/" for folder in left.folders)
    assert {path for path in files if not path.startswith(within)} <= {*left.files, *left.links, *left.marks}
    assert not now & {*left.files, *left.links, *left.marks, *left.folders}
    assert set(left.units) == {Path(path).name for path in files if path.startswith("/etc/systemd/system/")}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_the_last_mark_of_a_part_is_in_no_shared_folder(part: parts.Part) -> None:
    """Shared folders are removed before the last mark, if they are empty then."""
    left = remains(part, ONLY_ETCD.node("b"), ONLY_ETCD)
    assert not [folder for folder in left.shared if left.marks[-1].startswith(f"{folder}/")]


def test_a_part_is_removed_completely_from_a_host_that_will_have_it_again() -> None:
    """A member of etcd can be removed while its host stays in the group etcd."""
    stays, leaves = grouped(etcd=["m", "b"]), grouped(etcd=["m"])
    assert remains(ETCD, stays.node("b"), stays) == remains(ETCD, leaves.node("b"), leaves)


def test_only_files_of_kubekeel_itself_are_marks() -> None:
    for of in (cluster(), ONLY_ETCD, grouped(etcd=["m"]), cluster(register_masters=False)):
        for node in of.nodes:
            assert {path.split("/")[2] for path in marks(node, of)} <= {"kubernetes", "kubekeel"}
    assert former(ONLY_ETCD.node("b"), ONLY_ETCD, ["/etc/containerd/config.toml", "/var/lib/cni"]) == []


def test_each_mark_shows_the_part_that_is_left() -> None:
    minion = cluster().node("a")
    for mark in marks(minion, cluster()):
        of_others = {API_VIP: OF_THE_ADDRESS, NETWORK_POLICIES: OF_POLICIES, **OF_METRICS}
        part = next((part for part, own in of_others.items() if mark in own), CONTROL_PLANE)
        assert former(minion, cluster(), [mark]) == [part]
    assert former(minion, cluster(), []) == []
    # The files that a control plane shares with kubelet belong to kubelet.
    assert former(ONLY_ETCD.node("b"), ONLY_ETCD, ["/etc/kubernetes/pki/ca.crt"]) == [PODS]
    found = ["/opt/kubekeel/bin/kubelet", "/etc/kubernetes/admin.conf", "/opt/kubekeel/bin/kube-proxy"]
    assert former(ONLY_ETCD.node("b"), ONLY_ETCD, found) == [CONTROL_PLANE, KUBE_PROXY, PODS]


def test_the_binary_of_etcd_stays_for_the_balancer() -> None:
    of = grouped(etcd=["m"])
    left = remains(ETCD, of.node("b"), of)
    assert "/opt/kubekeel/bin/etcd" not in left.marks
    assert "/opt/kubekeel/bin/etcdutl" in left.marks
    assert {"/etc/etcd", "/var/lib/etcd", "/var/lib/etcd-snapshots"} <= {*left.folders}


def test_a_former_master_keeps_its_audit_logs() -> None:
    left = remains(CONTROL_PLANE, cluster().node("a"), cluster())
    assert "/var/log/kubernetes/audit" in left.shared
    assert not any(folder.startswith("/var/log") for folder in left.folders)


def test_a_master_that_is_not_registered_has_no_kube_proxy() -> None:
    of = cluster(register_masters=False)
    assert set(marks(of.node("m"), of)) == {
        *(
            "/etc/kubernetes/kube-proxy.conf",
            "/etc/kubernetes/pki/kube-proxy.crt",
            "/etc/kubernetes/pki/kube-proxy.key",
        ),
        "/opt/kubekeel/bin/kube-proxy",
        *OF_THE_ADDRESS,
        *OF_METRICS[ETCD_METRICS],
        *OF_METRICS[KUBE_PROXY_METRICS],
        *OF_POLICIES,
    }


def test_the_address_of_the_api_is_removed_with_its_setting_or_role() -> None:
    held = cluster(api_vip=VIP)
    found = sorted(OF_THE_ADDRESS)
    assert former(held.node("m"), held, found) == []
    assert former(held.node("a"), held, found) == [API_VIP]
    assert former(held.node("m"), cluster(), found) == [API_VIP]
    assert remains(API_VIP, held.node("m"), cluster()).units == ("kubekeel-vip.service",)


@pytest.mark.parametrize("part", OF_METRICS, ids=lambda part: part.name)
def test_a_relay_of_metrics_is_removed_with_its_setting_or_role(part: parts.Part) -> None:
    held, found = cluster(metrics=True), sorted(OF_METRICS[part])
    assert former(held.node("a"), held, found) == []
    assert former(held.node("a"), cluster(), found) == [part]
    assert remains(part, held.node("a"), cluster()).units == (
        f"kubekeel-{part.name.removeprefix('metrics of ')}-metrics.service",
    )
    # An etcd host that never ran pods does not look like a former node.
    assert former(ONLY_ETCD.node("b"), ONLY_ETCD, found) == [part]
