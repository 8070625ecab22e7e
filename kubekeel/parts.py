"""The parts of a host: the files that a deploy writes for each part, and the remains of former parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from kubekeel import render
from kubekeel.artifacts import Artifact, Image, Supply
from kubekeel.certificates import KeyPair
from kubekeel.cluster import ROLES, Cluster, Node
from kubekeel.encryption import EncryptionKeys
from kubekeel.files import Absent, Directory, Entry, File, Link, Tree
from kubekeel.identity import Keys
from kubekeel.machine import OWN_RESOLV_CONF, Machine
from kubekeel.needs import (
    has_kube_proxy,
    has_network_policies,
    holds_api_vip,
    relays_etcd_metrics,
    relays_kube_proxy_metrics,
    runs_pods,
)
from kubekeel.pki import Pki
from kubekeel.render import Target
from kubekeel.revocations import Revocations

# Only Kubekeel writes there. Elsewhere a file's name does not show that it is Kubekeel's.
_OURS = ("/etc/kubernetes/", "/opt/kubekeel/")


@dataclass(frozen=True)
class Part:
    """A set of files that a host has completely or not at all.

    `made` are files that its programs write; `folders` belong to it with all their content.
    """

    name: str
    applies_to: Callable[[Node, Cluster], bool]
    tree: Callable[[Target], Tree]
    made: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


def _control_plane(target: Target) -> Tree:
    files = render.control_plane(target)
    return {**files, **render.manifests(render.static_pods(target, files)), **render.issued(target)}


def _pods(target: Target) -> Tree:
    network = [render.flannel_tools]
    if target.has_flannel:
        network.append(render.flannel)
    if target.has_flannel or target.has_kube_proxy:
        network.append(render.heal)
    runtime = (render.containerd, render.containerd_tools, render.own_registries)
    kubelet = (render.api_balancer, render.kubelet, render.kubectl)
    return {path: entry for tree in (*network, *runtime, *kubelet) for path, entry in tree(target).items()}


def _etcd(target: Target) -> Tree:
    return {**render.etcd(target), **render.etcd_tools(target)}


CONTROL_PLANE = Part(
    "control plane",
    applies_to=lambda node, _: "masters" in node.roles,
    tree=_control_plane,
    folders=(
        *(f"/etc/kubernetes/{name}" for name in ("addons", "kube-controller-manager", "kube-scheduler", "site")),
        render.PREVIOUS,
    ),
)
API_VIP = Part(
    "address of the API",
    applies_to=holds_api_vip,
    tree=render.api_vip,
)
ETCD_METRICS = Part(
    "metrics of etcd",
    applies_to=relays_etcd_metrics,
    tree=render.etcd_metrics,
)
KUBE_PROXY_METRICS = Part(
    "metrics of kube-proxy",
    applies_to=relays_kube_proxy_metrics,
    tree=render.kube_proxy_metrics,
)
KUBE_PROXY = Part("kube-proxy", applies_to=has_kube_proxy, tree=render.kube_proxy, folders=("/var/lib/kube-proxy",))
NETWORK_POLICIES = Part("network policies", applies_to=has_network_policies, tree=render.network_policies)
PODS = Part(
    "pods",
    applies_to=lambda node, _: runs_pods(node),
    tree=_pods,
    made=("/etc/cni/net.d/10-flannel.conflist", "/etc/systemd/logind.conf.d/99-kubelet.conf"),
    folders=(
        *("/etc/flannel", "/var/lib/kubelet", "/var/lib/cni", "/var/lib/containerd"),
        *("/var/log/pods", "/var/log/containers", "/run/flannel", "/var/lib/flannel", "/run/containerd"),
    ),
)
ETCD = Part(
    "etcd",
    applies_to=lambda node, _: "etcd" in node.roles,
    tree=_etcd,
    made=("/var/lib/systemd/timers/stamp-etcd-snapshot.timer",),
    folders=("/etc/etcd", "/var/lib/etcd", "/var/lib/etcd-snapshots", "/var/lib/etcd-replaced"),
)
PARTS = (API_VIP, ETCD_METRICS, KUBE_PROXY_METRICS, CONTROL_PLANE, KUBE_PROXY, NETWORK_POLICIES, PODS, ETCD)
"""In the order in which they are removed."""


@dataclass(frozen=True)
class Remains:
    """The possible remains of a part on a host that no longer has it.

    `marks` are removed after all other files: while a mark exists, other remains may exist. `folders` are removed
    with all their content. Other programs may use `shared` folders, too, so these are removed only if they are empty;
    the last mark is in none of them.
    """

    units: tuple[str, ...]
    files: tuple[str, ...]
    links: tuple[str, ...]
    folders: tuple[str, ...]
    shared: tuple[str, ...]
    marks: tuple[str, ...]


def described(target: Target) -> Tree:
    """Return all files that a deploy writes on the host, except binaries and images themselves."""
    node, cluster = target.node, target.cluster
    tree: dict[str, Entry] = {mark: Absent() for mark in marks(node, cluster)}
    tree |= {**render.node(target), **render.carried(target)}
    for part in PARTS:
        if part.applies_to(node, cluster):
            tree |= part.tree(target)
    return tree


def written(node: Node, cluster: Cluster) -> list[str]:
    """Return the paths at which a deploy writes a file or a link."""
    tree = described(placeholder(node, cluster))
    return [path for path, entry in tree.items() if isinstance(entry, (File, Link))]


def marks(node: Node, cluster: Cluster) -> list[str]:
    """Return the paths that show remains of former parts on a host."""
    lacking = (remains(part, node, cluster) for part in PARTS if not part.applies_to(node, cluster))
    return sorted({mark for each in lacking for mark in each.marks})


def former(node: Node, cluster: Cluster, found: Collection[str]) -> list[Part]:
    """Return the former parts that have remains on a host; `found` has the marks that exist there."""
    return [
        part
        for part in PARTS
        if not part.applies_to(node, cluster) and not {*found}.isdisjoint(remains(part, node, cluster).marks)
    ]


@cache
def remains(part: Part, node: Node, cluster: Cluster) -> Remains:
    """Return the possible remains of `part` on `node`, which does not have it, or is to lose it."""
    trees = _trees(cluster)
    # Shared files are removed with the last part that has them.
    later = PARTS[PARTS.index(part) + 1 :]
    others = [other for other in PARTS if other != part and (other in later or other.applies_to(node, cluster))]
    kept = {path for other in others for path in trees[other.name]}
    tree = {path: entry for path, entry in trees[part.name].items() if path not in kept}
    folders = [path for path, entry in tree.items() if isinstance(entry, Directory)]
    within = tuple(f"{folder}/" for folder in part.folders)
    marks = [path for path in tree if path not in folders and path.startswith(_OURS)]
    alone = [path for path in tree if path not in {*folders, *marks} and not path.startswith(within)]
    links = [path for path in alone if isinstance(tree[path], Link)]
    shared = tuple(sorted(set(folders) - set(part.folders), reverse=True))
    within_shared = tuple(f"{folder}/" for folder in shared)
    return Remains(
        units=tuple(PurePosixPath(path).name for path in alone if path.startswith("/etc/systemd/system/")),
        files=(*part.made, *(path for path in alone if path not in links)),
        links=tuple(links),
        folders=part.folders,
        shared=shared,
        marks=tuple(sorted(marks, key=lambda path: not path.startswith(within_shared))),
    )


@cache
def _trees(cluster: Cluster) -> dict[str, Tree]:
    """Return the files of each part on a host that has all parts."""
    target = placeholder(Node("any", "192.0.2.1", "any", frozenset(ROLES)), cluster)
    return {part.name: part.tree(target) for part in PARTS}


def placeholder(node: Node, cluster: Cluster) -> Target:
    """Return a target without keys and artifacts, to find the paths of files, but not their content."""
    return Target(node, _MACHINE, cluster, _NoKeys(), _SUPPLY)


# A machine with every file that any machine can have.
_MACHINE = Machine("any", "any", True, True, True, True, True, resolv_conf=OWN_RESOLV_CONF)
_SUPPLY = Supply(
    "any",
    binaries=defaultdict(lambda: Artifact("any", "any", "any", Path(), lambda _: Path())),
    images=defaultdict(lambda: Image("any", "any", "any", Path(), "any", lambda _: Path())),
)


class _NoKeys(Pki):
    """A Pki for callers that need the names of keys, but not the keys."""

    def __init__(self) -> None:
        """There is no content."""

    @property
    def service_account_key(self) -> KeyPair:
        return _NO_PAIR

    @property
    def encryption_keys(self) -> EncryptionKeys:
        return ()

    @property
    def issued(self) -> bytes:
        return b""

    def revocation_list(self) -> bytes:
        return b""

    @property
    def users_authority(self) -> bytes:
        return b""

    @property
    def revocations(self) -> Revocations:
        return Revocations()

    def known(self) -> Keys:
        return Keys(Path(), missing=(), authorities={}, encryption_keys={})

    def authority(self, name: str) -> bytes:  # noqa: ARG002
        return b""

    def leaf(self, node: str, name: str) -> KeyPair:  # noqa: ARG002
        return _NO_PAIR

    def control(self, name: str) -> KeyPair:  # noqa: ARG002
        return _NO_PAIR


_NO_PAIR = KeyPair(b"", b"")
