"""The files of each role on each node of a cluster."""

from __future__ import annotations

import json
import tomllib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import IPv4Address
from math import ceil
from pathlib import Path

import jinja2
import yaml

from kubekeel import components, etcd_access, identity, registries
from kubekeel.artifacts import Supply
from kubekeel.certificates import KeyPair
from kubekeel.cluster import Cluster, Node
from kubekeel.files import Absent, Directory, Entry, File, Link, Tree
from kubekeel.flannel import hardware_address
from kubekeel.identity import Identity
from kubekeel.machine import OWN_RESOLV_CONF, Machine
from kubekeel.needs import (
    STATIC_PODS,
    has_flannel,
    has_kube_proxy,
    has_network_policies,
    needs,
    registered,
    relays_metrics,
    runs_pods,
    takes_addons,
)
from kubekeel.nodes import kubelet_may_set, taints
from kubekeel.pki import METRICS, METRICS_GROUP, METRICS_READER, Pki
from kubekeel.revocations import LISTED
from kubekeel.settings.components import Arguments

PROJECT = Path(__file__).resolve().parent.parent

# Go's suites for TLS 1.2 with forward secrecy and an AEAD; suites of TLS 1.3 cannot be chosen.
CIPHER_SUITES = ",".join(
    f"TLS_ECDHE_{key}_WITH_{cipher}"
    for cipher in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305")
    for key in ("ECDSA", "RSA")
)

BIN = "/opt/kubekeel/bin"
"""The folder of a host's programs."""

MANIFESTS = "/etc/kubernetes/manifests"
"""The folder of a master's static pods."""

KUBELET_FOLDER = "/etc/kubernetes/kubelet.conf.d"
"""The folder of kubelet's drop-in configuration, Kubekeel's and others'."""

PROXIES = "/etc/containerd/proxies.env"
"""The proxies that containerd uses; their addresses may contain passwords."""

PREVIOUS = "/etc/kubernetes/previous"
"""The folder of the files that a master's static pods ran with before a change, until the new ones serve."""

SYSCTLS = "/etc/sysctl.d/zz-kubekeel.conf"
"""The kernel settings: systemd-sysctl sorts its files by name, and the last one with a setting wins."""

ETCD_METRICS_PORT, KUBE_PROXY_METRICS_PORT = 2381, 10249
"""The ports of both components' metrics on localhost; other hosts get them at the same port of the host's address."""

AUTHENTICATION = "/etc/kubernetes/authentication-config.yaml"
"""The file that configures how API servers authenticate clients."""

NETWORK_POLICY_QUEUE = 98
"""The number of the kernel's packet queue for network policies."""

_READ_ONCE = {
    "kube-apiserver": (
        "/etc/kubernetes/admission.yaml",
        "/etc/kubernetes/audit-policy.yaml",
        "/etc/kubernetes/pki/sa.pub",
        "/etc/kubernetes/pki/sa.key",
        "/etc/kubernetes/pki/etcd-ca.crt",
        "/etc/kubernetes/pki/ca.crt",
    ),
    "kube-controller-manager": (
        "/etc/kubernetes/kube-controller-manager/kubeconfig",
        "/etc/kubernetes/kube-controller-manager/sa.key",
        "/etc/kubernetes/kube-controller-manager/ca.crt",
    ),
    "kube-scheduler": ("/etc/kubernetes/kube-scheduler/kubeconfig", "/etc/kubernetes/kube-scheduler/ca.crt"),
}
"""The files that each static pod reads only at its start."""


@dataclass(frozen=True)
class Target:
    """One host of the run, with everything that its files depend on."""

    node: Node
    machine: Machine
    cluster: Cluster
    pki: Pki
    supply: Supply

    @property
    def registered(self) -> bool:
        """Whether this host becomes a Node of the cluster."""
        return registered(self.node, self.cluster)

    @property
    def has_flannel(self) -> bool:
        return has_flannel(self.node, self.cluster)

    @property
    def has_kube_proxy(self) -> bool:
        return has_kube_proxy(self.node, self.cluster)

    @property
    def relays_metrics(self) -> bool:
        return relays_metrics(self.node, self.cluster)

    @property
    def has_network_policies(self) -> bool:
        return has_network_policies(self.node, self.cluster)

    @property
    def runs_pods(self) -> bool:
        return runs_pods(self.node)


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(PROJECT / "templates"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    # Pages for a browser contain output of hosts.
    autoescape=jinja2.select_autoescape(("html.j2",), default=False),
)
TEMPLATES.filters["base64"] = lambda data: b64encode(data).decode()
TEMPLATES.filters["sha256"] = lambda text: sha256(text.encode()).hexdigest()


# Command lines, one argument per line, in which the user's arguments replace Kubekeel's of the same name.


def flags(arguments: Arguments) -> list[str]:
    """Return the flags of a command line."""
    return [f"--{name}={value}" for name, values in arguments.items() for value in values]


def _kept(lines: str, arguments: Arguments) -> list[str]:
    return [line for line in lines.splitlines() if line.partition("--")[2].partition("=")[0] not in arguments]


def _in_yaml(lines: str, arguments: Arguments) -> str:
    return "".join(
        f"{line}\n"
        for line in (*_kept(lines, arguments), *(f"        - {json.dumps(flag)}" for flag in flags(arguments)))
    )


def _in_unit(lines: str, arguments: Arguments) -> str:
    kept = [line.removesuffix(" \\") for line in _kept(lines, arguments)]
    added = [f"  {json.dumps(flag).replace('%', '%%').replace('$', '$$')}" for flag in flags(arguments)]
    return " \\\n".join((*kept, *added)) + "\n"


def _without_arguments(lines: str, arguments: Arguments) -> str:
    """Return the lines of etcd's environment file without these arguments."""
    variables = tuple(f"ETCD_{name.replace('-', '_').upper()}=" for name in arguments)
    return "".join(line for line in lines.splitlines(keepends=True) if not line.startswith(variables))


TEMPLATES.filters |= {"in_yaml": _in_yaml, "in_unit": _in_unit, "without_arguments": _without_arguments}


def render(template: str, **variables: object) -> bytes:
    """Return the finished file of `templates/<template>.j2`; an unknown variable is an error."""
    return TEMPLATES.get_template(f"{template}.j2").render(variables).encode()


def _rendered(target: Target, template: str, **variables: object) -> bytes:
    return render(
        template,
        node=target.node,
        machine=target.machine,
        cluster=target.cluster,
        registered=target.registered,
        sysctls=SYSCTLS,
        cipher_suites=CIPHER_SUITES,
        kubelet_folder=KUBELET_FOLDER,
        proxies_file=PROXIES,
        companions_address=companions_address(target.node, target.cluster),
        **variables,
    )


def _unit(target: Target, name: str, **variables: object) -> Tree:
    return {f"/etc/systemd/system/{name}.service": File(_rendered(target, f"systemd/{name}.service", **variables))}


def _binaries(target: Target, *names: str) -> Tree:
    return {
        f"{BIN}/{name}": Link(f"../store/{target.supply.binary(name, target.node.arch).sha256}/{name}")
        for name in names
    }


def stored(target: Target, name: str) -> str:
    """Return the path of a binary in the node's store, which exists before the link to it."""
    return f"/opt/kubekeel/store/{target.supply.binary(name, target.node.arch).sha256}/{name}"


def stored_binaries(target: Target) -> list[str]:
    """Return the paths in the node's store of all binaries that it needs."""
    return [stored(target, name) for name in sorted(needs(target.node, target.cluster).binaries)]


def _stored(target: Target) -> Iterator[str]:
    wanted = needs(target.node, target.cluster)
    return (target.supply.binary(name, wanted.arch).sha256 for name in sorted(wanted.binaries))


def _commands(*names: str, folder: str = "/usr/local/bin") -> Tree:
    return {f"{folder}/{name}": Link(f"{BIN}/{name}") for name in names}


def _pair(path: str, pair: KeyPair, owner: str = "root:root", hot: bool = True) -> Tree:
    return {
        f"{path}.crt": File(pair.cert, 0o644, owner, hot),
        f"{path}.key": File(pair.key, 0o600, owner, hot),
    }


def _kubeconfig(target: Target, user: str, certificate: str, pki: str = "/etc/kubernetes/pki") -> File:
    server = "https://127.0.0.1:7443"
    return File(_rendered(target, "kubeconfig", user=user, certificate=certificate, pki=pki, server=server))


_ANONYMOUS = (PROJECT / "files/control_plane/authentication-config.yaml").read_bytes()
# A token of an issuer makes nobody a component of the cluster or an administrator.
_NAMES_OF_THEIR_OWN = (
    {
        "expression": "!user.username.startsWith('system:') && user.username != 'kube-apiserver-kubelet-client'",
        "message": "the user's name is one of the cluster's own",
    },
    {
        "expression": "user.groups.all(group, !group.startsWith('system:') && !group.startsWith('kubekeel:'))",
        "message": "a group of the user's is one of the cluster's own",
    },
)


def _project_file(path: str, mode: int = 0o600) -> File:
    return File((PROJECT / "files" / path).read_bytes(), mode)


def node(target: Target) -> Tree:
    """Return the folders for files of every role, and the kernel's settings."""
    return {
        "/etc/modules-load.d/kubekeel.conf": _modules(target),
        SYSCTLS: File(_rendered(target, "node/sysctl.conf"), 0o644),
        # Its name in earlier versions.
        "/etc/sysctl.d/90-kubekeel.conf": Absent(),
        **_unmanaged(target),
        "/opt/kubekeel": Directory(),
        BIN: Directory(),
        "/opt/kubekeel/libexec": Directory(),
        "/opt/kubekeel/store": Directory(),
        **{f"/opt/kubekeel/store/{digest}": Directory() for digest in _stored(target)},
        "/opt/kubekeel/incoming": Directory(0o700),
        "/etc/kubernetes": Directory(),
        "/etc/kubernetes/pki": Directory(),
    }


def _modules(target: Target) -> File:
    """Return the file of kernel modules that are loaded at boot."""
    common = _project_file("node/modules.conf")
    if not target.has_network_policies:
        return common
    return replace(common, content=common.content + _project_file("network_policies/modules.conf").content)


def carried(target: Target, seen: Identity | None = None) -> Tree:
    """Return the file of a node's final identity; with the identity `seen` on the node, the file during a deploy."""
    keys = target.pki.known()
    carried = identity.described(target.node, target.cluster, keys.authorities, keys.revocations)
    content = identity.written(carried if seen is None else identity.begun(carried, seen))
    return {"/etc/kubekeel": Directory(), identity.PATH: File(content, 0o644, hot=True)}


def issued(target: Target) -> Tree:
    """Return the file with which a master shows other copies of the state directory what this one issued."""
    return {LISTED: File(target.pki.issued, 0o644, hot=True)}


def kernel_settings(machine: Machine) -> dict[str, str]:
    """Return the kernel settings of a host by key."""
    lines = render("node/sysctl.conf", machine=machine).decode().splitlines()
    assigned = (line.partition(" = ") for line in lines if not line.startswith("#"))
    return {key: value for key, _, value in assigned}


def _unmanaged(target: Target) -> Tree:
    """Return the files that keep the host's network daemons from managing the pods' devices."""
    tree: Tree = {
        "/etc/systemd/network": Directory(),
        "/etc/systemd/network/00-kubekeel.network": _project_file("node/networkd.conf", 0o644),
    }
    if target.machine.network_manager:
        path = "/etc/NetworkManager/conf.d/kubekeel.conf"
        return {**tree, path: _project_file("node/network-manager.conf", 0o644)}
    return tree


def etcd(target: Target) -> Tree:
    pki, name = target.pki, target.node.name
    owner = "etcd:etcd"
    arguments = components.arguments("etcd", target.node, target.cluster)
    return {
        "/etc/etcd": Directory(),
        "/etc/etcd/etcd.conf": File(_rendered(target, "etcd/etcd.conf", arguments=arguments)),
        "/etc/etcd/pki": Directory(0o700, owner),
        "/etc/etcd/pki/ca.crt": File(pki.authority("etcd-ca"), 0o644, owner),
        **_pair("/etc/etcd/pki/server", pki.leaf(name, "etcd-server"), owner),
        **_pair("/etc/etcd/pki/peer", pki.leaf(name, "etcd-peer"), owner),
        **_pair("/etc/etcd/pki/root", pki.leaf(name, "etcd-root")),
        **etcd_revocations(pki),
        "/var/lib/etcd": Directory(0o700, owner),
        **_unit(target, "etcd", arguments=arguments),
        **_binaries(target, "etcd"),
    }


def etcd_revocations(pki: Pki) -> Tree:
    """Return etcd's revocation list. etcd reads it at each new connection; open connections end when etcd restarts."""
    return {"/etc/etcd/pki/revoked.crl": File(pki.revocation_list(), 0o644, "etcd:etcd")}


def etcd_tools(target: Target) -> Tree:
    """Return the tools for etcd that people and the timer of snapshots use."""
    return {
        "/opt/kubekeel/libexec/take-snapshot": _project_file("etcd/take-snapshot.sh", 0o755),
        "/var/lib/etcd-snapshots": Directory(0o700, "etcd:etcd"),
        **_unit(target, "etcd-snapshot"),
        "/etc/systemd/system/etcd-snapshot.timer": File(_rendered(target, "systemd/etcd-snapshot.timer")),
        **_binaries(target, "etcdctl", "etcdutl"),
        **_commands("etcdctl", "etcdutl"),
    }


def etcd_first_start(cluster: Cluster, beginning: str, members: str) -> File:
    """Return the file with which etcd finds the other members as long as it has no data."""
    return File(
        render("etcd/first-start.conf", cluster=cluster, beginning=beginning, members=members),
        hot=True,
    )


def etcd_content(cluster: Cluster) -> etcd_access.Wanted:
    """Return Kubekeel's desired content of etcd: users, roles, and flannel's configuration and leases."""
    return etcd_access.wanted(cluster, render("flannel/network.json", cluster=cluster))


def flannel(target: Target) -> Tree:
    pki = target.pki
    return {
        "/etc/flannel": Directory(),
        "/etc/flannel/pki": Directory(0o700),
        "/etc/flannel/pki/etcd-ca.crt": File(pki.authority("etcd-ca"), 0o644),
        # flanneld reads its pair once (newTlsConfig in its etcd registry), so a renewed pair needs a restart.
        **_pair("/etc/flannel/pki/etcd-client", pki.leaf(target.node.name, "flannel-etcd-client"), hot=False),
        "/etc/cni": Directory(),
        "/etc/cni/net.d": Directory(0o700),
        "/var/lib/cni": Directory(0o700),
        "/var/lib/cni/networks": Directory(0o700),
        "/var/lib/cni/networks/flannel": Directory(0o700),
        # host-local would create this file readable by others.
        "/var/lib/cni/networks/flannel/lock": File(b"", hot=True),
        "/opt/kubekeel/libexec/make-flannel-device": File(
            _rendered(target, "flannel/make-device", hardware_address=hardware_address(target.node.address)), 0o755
        ),
        "/opt/kubekeel/libexec/restore-bridge": _project_file("flannel/restore-bridge.sh", 0o755),
        "/opt/kubekeel/libexec/write-cni-config": File(_rendered(target, "flannel/write-cni-config"), 0o755),
        **_unit(target, "flanneld"),
        **_binaries(target, "flanneld"),
    }


def flannel_tools(target: Target) -> Tree:
    """Return the tool with which a look compares the kernel with flannel's leases."""
    return _binaries(target, "etcdctl")


def check_flannel(target: Target) -> str:
    """Return the command that fails if the kernel lacks flanneld's rules; etcd's endpoints may follow."""
    cluster, node = target.cluster, target.node
    return (
        f"/opt/kubekeel/libexec/check-flannel {cluster.flannel_backend} {cluster.kube_proxy_mode}"
        f" {cluster.pod_network} {node.address} {hardware_address(node.address)}"
    )


def check_kube_proxy(target: Target) -> str:
    """Return the command that fails if the kernel lacks kube-proxy's rules."""
    return f"/opt/kubekeel/libexec/check-kube-proxy {target.cluster.kube_proxy_mode}"


def check_network_policies() -> str:
    """Return the command that fails if the kernel queues no packets for network policies."""
    return f"/opt/kubekeel/libexec/check-network-policies {NETWORK_POLICY_QUEUE}"


def heal(target: Target) -> Tree:
    """Return the service that restores rules, routes and devices after another program on the host removed them."""
    checks = {}
    if target.has_flannel:
        checks["flanneld"] = check_flannel(target)
    if target.has_kube_proxy:
        checks["kube-proxy"] = check_kube_proxy(target)
    if target.has_network_policies:
        checks["kube-network-policies"] = check_network_policies()
    return {
        "/opt/kubekeel/libexec/check-flannel": _project_file("flannel/check-flannel.sh", 0o755),
        "/opt/kubekeel/libexec/check-kube-proxy": _project_file("kube_proxy/check-kube-proxy.sh", 0o755),
        "/opt/kubekeel/libexec/check-network-policies": _project_file(
            "network_policies/check-network-policies.sh", 0o755
        ),
        "/opt/kubekeel/libexec/heal": _project_file("node/heal.sh", 0o755),
        "/etc/systemd/system/kubekeel-heal.service": File(
            _rendered(target, "systemd/kubekeel-heal.service", checks=checks)
        ),
    }


def containerd(target: Target) -> Tree:
    pause = target.supply.image("pause", target.node.arch)
    plugins = ("bridge", "host-local", "loopback", "portmap")
    return {
        "/etc/containerd": Directory(),
        "/etc/containerd/config.toml": File(
            _rendered(target, "containerd/config.toml", pause_image=pause.reference, registries=registries.FOLDER),
            0o644,
        ),
        "/etc/containerd/conf.d": Directory(),
        "/etc/containerd/conf.d/50-cluster.toml": _toml(target.cluster.containerd),
        "/etc/containerd/conf.d/60-host.toml": _toml(target.node.containerd),
        "/opt/cni": Directory(),
        "/opt/cni/bin": Directory(),
        **_commands(*plugins, folder="/opt/cni/bin"),
        **_proxies(target.cluster),
        **_unit(target, "containerd", proxies=registries.proxies_set(target.cluster)),
        **_binaries(target, "containerd"),
    }


def _proxies(cluster: Cluster) -> Tree:
    variables = registries.proxies(cluster)
    if not variables:
        return {PROXIES: Absent()}
    content = "".join(f'{name}="{value}"\n' for name, value in variables.items())
    # The file contains the addresses of nodes, and a new node must not restart containerd.
    return {PROXIES: File(content.encode(), hot=True)}


def own_registries(target: Target) -> Tree:
    """Return the files about registries that containerd reads whenever it pulls an image."""
    cluster = target.cluster
    tree: dict[str, Entry] = {}
    for name, registry in cluster.registries.items():
        own, mirrors = registries.hosts(cluster, name)
        variables = {"mark": registries.MARK, "own": own, "mirrors": mirrors, "plain_http": registry.plain_http}
        tree[registries.folder(name)] = Directory()
        tree[f"{registries.folder(name)}/hosts.toml"] = File(render("containerd/hosts.toml", **variables), hot=True)
        if registry.ca:
            ca = (cluster.folder / registry.ca).read_bytes()
            tree[registries.authority(name)] = File(ca, 0o644, hot=True)
    return tree


def _toml(piece: str) -> File:
    """Return a drop-in of containerd's configuration; containerd takes one without a version for version 1."""
    version = "" if "version" in tomllib.loads(piece) else "version = 3\n"
    return File(f"{version}{piece}".encode())


def containerd_tools(target: Target) -> Tree:
    """Return the programs that containerd starts for each container, and the tools that people use."""
    return {
        "/etc/crictl.yaml": _project_file("containerd/crictl.yaml", 0o644),
        **_binaries(
            target,
            *("ctr", "containerd-shim-runc-v2", "runc", "crictl"),
            *("bridge", "host-local", "loopback", "portmap"),
        ),
        **_commands("crictl"),
    }


def api_balancer(target: Target) -> Tree:
    return {**_unit(target, "api-balancer"), **_binaries(target, "etcd")}


def kubelet(target: Target) -> Tree:
    pki, name = target.pki, target.node.name
    return {
        "/var/lib/kubelet": Directory(0o700),
        "/var/lib/kubelet/config.yaml": File(
            _rendered(target, "kubelet/config.yaml", max_pods=_max_pods(target.cluster), reserved=_reserved(target))
        ),
        KUBELET_FOLDER: Directory(),
        f"{KUBELET_FOLDER}/50-kubekeel.conf": File(
            _yaml({**_KUBELET_KIND, **components.configuration("kubelet", target.node, target.cluster)})
        ),
        **_resolv_conf(target),
        # kubelet reads both only to register the node; later an administrator's credentials change them.
        "/var/lib/kubelet/labels.env": File(
            _rendered(target, "kubelet/labels.env", labels=_own_labels(target.node)), hot=True
        ),
        f"{KUBELET_FOLDER}/40-taints.conf": File(
            _yaml({**_KUBELET_KIND, "registerWithTaints": _own_taints(target.node)}), hot=True
        ),
        "/etc/kubernetes/kubelet.conf": _kubeconfig(target, f"system:node:{name}", "kubelet-client"),
        "/etc/kubernetes/pki/ca.crt": File(pki.authority("ca"), 0o644),
        **_pair("/etc/kubernetes/pki/kubelet-client", pki.leaf(name, "kubelet-client")),
        **_pair("/etc/kubernetes/pki/kubelet-server", pki.leaf(name, "kubelet-server")),
        **_unit(target, "kubelet"),
        **_binaries(target, "kubelet"),
    }


def _max_pods(cluster: Cluster) -> int:
    """Return Kubernetes' own limit, or the number of free addresses without network, bridge and broadcast."""
    return int(min(110, 2 ** (32 - cluster.node_subnet_length) - 3))


_KUBELET_KIND = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}


def _yaml(content: Mapping[str, object]) -> bytes:
    # YAML has no tuples.
    return yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False).encode()


@dataclass(frozen=True)
class _Reserved:
    """The memory, in MiB, that pods do not get: for kubelet and containerd, and for the rest of the system."""

    kube: int
    system: int


def _reserved(target: Target) -> _Reserved:
    # A host reports slightly less memory than it has, and the value varies.
    gibibytes = ceil(target.machine.memory / 1024)
    etcd = 200 if "etcd" in target.node.roles else 0
    return _Reserved(kube=min(64 + 64 * gibibytes, 1024), system=100 + etcd)


def _resolv_conf(target: Target) -> Tree:
    """Return the file of name servers for pods, if the host has no suitable one."""
    if target.machine.resolv_conf != OWN_RESOLV_CONF:
        return {}
    # CoreDNS does not start without a name server, so a host without any gets an address that refuses at once.
    servers = target.machine.name_servers or (target.node.address,)
    return {OWN_RESOLV_CONF: File("".join(f"nameserver {server}\n" for server in servers).encode(), 0o644, hot=True)}


def _own_taints(node: Node) -> list[dict[str, str]]:
    """Return the taints with which kubelet registers the node, so that no pod arrives before them."""
    entries = []
    for taint, value in taints(node).items():
        key, _, effect = taint.partition(":")
        entries.append({"key": key, "effect": effect, **({"value": value} if value else {})})
    return entries


def _own_labels(node: Node) -> dict[str, str]:
    return {label: value for label, value in node.labels.items() if kubelet_may_set(label)}


def kubectl(target: Target) -> Tree:
    return {**_binaries(target, "kubectl"), **_commands("kubectl")}


def kube_proxy(target: Target) -> Tree:
    return {
        "/var/lib/kube-proxy": Directory(0o700),
        "/var/lib/kube-proxy/config.yaml": File(_kube_proxy_config(target)),
        "/etc/kubernetes/kube-proxy.conf": _kubeconfig(target, "system:kube-proxy", "kube-proxy"),
        "/etc/kubernetes/pki/ca.crt": File(target.pki.authority("ca"), 0o644),
        **_pair("/etc/kubernetes/pki/kube-proxy", target.pki.leaf(target.node.name, "kube-proxy")),
        **_unit(target, "kube-proxy"),
        **_binaries(target, "kube-proxy"),
    }


def _kube_proxy_config(target: Target) -> bytes:
    ours = _rendered(target, "kube_proxy/config.yaml")
    theirs = components.configuration("kube-proxy", target.node, target.cluster)
    return _yaml(components.merged(yaml.safe_load(ours), theirs)) if theirs else ours


def network_policies(target: Target) -> Tree:
    """Return the service that enforces network policies."""
    name = "kube-network-policies"
    return {
        f"/etc/kubernetes/{name}.conf": _kubeconfig(target, f"system:{name}", name),
        "/etc/kubernetes/pki/ca.crt": File(target.pki.authority("ca"), 0o644),
        **_pair(f"/etc/kubernetes/pki/{name}", target.pki.leaf(target.node.name, name)),
        **_unit(target, name, queue=NETWORK_POLICY_QUEUE),
        **_binaries(target, name),
    }


def control_plane(target: Target) -> Tree:
    """Return the files that a master's static pods read."""
    pki, name = target.pki, target.node.name
    leaves = {
        "apiserver": "kube-apiserver",
        "apiserver-etcd-client": "kube-apiserver-etcd-client",
        "apiserver-kubelet-client": "kube-apiserver-kubelet-client",
        "front-proxy-client": "front-proxy-client",
        "admin": "admin",
    }
    files: dict[str, Entry] = {
        MANIFESTS: Directory(0o700),
        "/var/log/kubernetes": Directory(0o700),
        "/var/log/kubernetes/audit": Directory(0o700),
        "/etc/kubernetes/pki/etcd-ca.crt": File(pki.authority("etcd-ca"), 0o644),
        "/etc/kubernetes/pki/front-proxy-ca.crt": File(pki.authority("front-proxy-ca"), 0o644),
        "/etc/kubernetes/pki/ca.crt": File(pki.authority("ca"), 0o644),
        **client_authorities(target.cluster, pki),
        "/etc/kubernetes/pki/sa.key": File(pki.service_account_key.key),
        "/etc/kubernetes/pki/sa.pub": File(pki.service_account_key.cert, 0o644),
        "/etc/kubernetes/admin.conf": _kubeconfig(target, "kubernetes-admin", "admin"),
        **_controller(target, "kube-scheduler"),
        **_controller(target, "kube-controller-manager"),
        "/etc/kubernetes/kube-controller-manager/sa.key": File(pki.service_account_key.key),
        "/etc/kubernetes/encryption-config.yaml": File(encryption_config(pki)),
    }
    for leaf_file, leaf in leaves.items():
        files |= _pair(f"/etc/kubernetes/pki/{leaf_file}", pki.leaf(name, leaf))
    # Earlier versions had these in a folder that every static pod could read.
    earlier = ("controller-manager.conf", "scheduler.conf", "pki/signing-ca.crt", "pki/signing-ca.key")
    pairs = [f"pki/{name}.{half}" for name in ("kube-controller-manager", "kube-scheduler") for half in ("crt", "key")]
    files |= {f"/etc/kubernetes/{path}": Absent() for path in (*earlier, *pairs)}
    for config in ("admission", "audit-policy"):
        files[f"/etc/kubernetes/{config}.yaml"] = _project_file(f"control_plane/{config}.yaml")
    files[AUTHENTICATION] = File(_ANONYMOUS + _issuers(target.cluster))
    return files


def _issuers(cluster: Cluster) -> bytes:
    """Return the issuers whose tokens API servers accept; they reread this part of the file after a change."""
    issuers = [json.loads(issuer) for issuer in cluster.authentication]
    for issuer in issuers:
        issuer["userValidationRules"] = [*issuer.get("userValidationRules", ()), *_NAMES_OF_THEIR_OWN]
    return yaml.safe_dump({"jwt": issuers}, sort_keys=False).encode() if issuers else b""


def api_vip(target: Target) -> Tree:
    """Return the service that holds the address of the API; it is the same on all masters."""
    router = IPv4Address(target.cluster.api_vip or 0).packed[-1] or 1
    return {
        "/opt/kubekeel/libexec/check-api": File(_rendered(target, "control_plane/check-api"), 0o755),
        "/opt/kubekeel/libexec/hold-api-address": File(
            _rendered(target, "control_plane/hold-api-address", router_id=router), 0o755
        ),
        **_unit(target, "kubekeel-vip"),
    }


def encryption_config(pki: Pki) -> bytes:
    """Return the configuration of API servers for encryption in etcd."""
    return render("control_plane/encryption-config.yaml", encryption_keys=pki.encryption_keys)


def _controller(target: Target, name: str) -> Tree:
    """Return the only folder of the master that the controller manager or the scheduler can read."""
    folder = f"/etc/kubernetes/{name}"
    serving: Tree = {f"{folder}/metrics.crt": Absent(), f"{folder}/metrics.key": Absent()}
    if target.cluster.metrics:
        serving = _pair(f"{folder}/metrics", target.pki.leaf(target.node.name, METRICS))
    return {
        **serving,
        folder: Directory(0o700),
        f"{folder}/kubeconfig": _kubeconfig(target, f"system:{name}", name, folder),
        f"{folder}/ca.crt": File(target.pki.authority("ca"), 0o644),
        f"{folder}/front-proxy-ca.crt": File(target.pki.authority("front-proxy-ca"), 0o644),
        **_pair(f"{folder}/{name}", target.pki.leaf(target.node.name, name)),
    }


def companions_address(node: Node, cluster: Cluster) -> str:
    """Return the address on which a master's controller manager and scheduler listen."""
    return node.address if cluster.metrics else "127.0.0.1"


def etcd_metrics(target: Target) -> Tree:
    """Return the relay that gives etcd's metrics to authorised clients."""
    return _metrics_relay(target, "etcd", ETCD_METRICS_PORT)


def kube_proxy_metrics(target: Target) -> Tree:
    """Return the relay that gives kube-proxy's metrics to authorised clients; kube-proxy authenticates nobody."""
    return _metrics_relay(target, "kube-proxy", KUBE_PROXY_METRICS_PORT)


def _metrics_relay(target: Target, of: str, port: int) -> Tree:
    base, unit = f"/etc/kubernetes/pki/{of}-metrics", f"kubekeel-{of}-metrics"
    credentials = f"/run/credentials/{unit}.service"
    tls = {
        **{"cert": f"{credentials}/server.crt", "key": f"{credentials}/server.key", "cafile": f"{credentials}/ca.crt"},
        **{"verify": "1", "openssl-commonname": METRICS_READER},
        **{"openssl-min-proto-version": "TLS1.2", "cipher": "ECDHE+AESGCM:ECDHE+CHACHA20"},
    }
    options = ",".join(f"{name}={value}" for name, value in tls.items())
    service = _rendered(target, "systemd/metrics-relay.service", of=of, port=port, base=base, tls=options)
    return {
        # A separate copy, because /etc/kubernetes/pki/ca.crt marks a host that runs pods.
        f"{base}-ca.crt": File(target.pki.authority("ca"), 0o644),
        **_pair(base, target.pki.leaf(target.node.name, METRICS), hot=False),
        f"/etc/systemd/system/{unit}.service": File(service),
    }


def client_authorities(cluster: Cluster, pki: Pki) -> Tree:
    """Return the authorities of clients that the API server trusts, and the controller manager's pair to sign with."""
    trusted, signer = pki.authority("ca") + pki.users_authority, "/etc/kubernetes/kube-controller-manager/signing-ca"
    tree: Tree = {f"{signer}.crt": Absent(), f"{signer}.key": Absent()}
    if cluster.sign_client_certificates:
        pair = pki.control("signing-ca")
        trusted += pair.cert
        tree = _pair(signer, pair)
    return {"/etc/kubernetes/pki/client-ca.crt": File(trusted, 0o644, hot=True), **tree}


def static_pods(target: Target, files: Tree) -> dict[str, tuple[str, bytes]]:
    """Return by name each static pod's digest of all its inputs, and its manifest with that digest."""
    return {name: _static_pod(target, name, files) for name in STATIC_PODS}


def manifests(pods: Mapping[str, tuple[str, bytes]]) -> Tree:
    """Return the files from which kubelet runs static pods."""
    return {f"{MANIFESTS}/{name}.yaml": File(manifest, hot=True) for name, (_, manifest) in pods.items()}


def _static_pod(target: Target, name: str, files: Tree) -> tuple[str, bytes]:
    def rendered(config_digest: str) -> bytes:
        image = target.supply.image(name, target.node.arch)
        arguments = components.arguments(name, target.node, target.cluster)
        template = f"control_plane/{name}.yaml"
        return _rendered(target, template, image=image, arguments=arguments, config_digest=config_digest)

    inputs = sha256(rendered(""))
    if name == "kube-apiserver":
        inputs.update(_ANONYMOUS)
    for path in _READ_ONCE[name]:
        entry = files[path]
        assert isinstance(entry, File)
        inputs.update(entry.content)
    digest = inputs.hexdigest()
    return digest, rendered(digest)


def addons(target: Target) -> dict[str, bytes]:
    """Return the add-ons' manifests by file name."""
    images = {"coredns": ("coredns", "coredns"), "metrics-server": ("metrics-server", "metrics-server")}
    if dashboard := target.cluster.dashboard:
        images["dashboard"] = (f"dashboard-{dashboard}", dashboard)
    manifests = {
        "rbac.yaml": _rendered(target, "addons/rbac.yaml", administrators=target.pki.revocations.administrators_group),
        **api_revocations(target.pki),
        **dict(_group_roles(target.cluster)),
    }
    if target.cluster.metrics:
        manifests["metrics.yaml"] = render("addons/metrics.yaml", group=METRICS_GROUP)
    if target.cluster.network_policy:
        manifests["kube-network-policies.yaml"] = _rendered(target, "addons/kube-network-policies.yaml")
    # Another network may enforce policies itself.
    elif target.cluster.pod_network_provider == "flannel":
        manifests["network-policies.yaml"] = _rendered(target, "addons/network-policies.yaml")
    arch = next(node.arch for node in target.cluster.nodes if takes_addons(node, target.cluster))
    for addon, (template, image) in images.items():
        manifests[f"{addon}.yaml"] = _rendered(
            target,
            f"addons/{template}.yaml",
            image=target.supply.image(image, arch),
            pair=target.pki.control("metrics-server"),
            ca=target.pki.authority("ca"),
            corefile=_rendered(target, "addons/Corefile").decode().strip(),
            replicas=dns_replicas(target.cluster),
        )
    return manifests


def _group_roles(cluster: Cluster) -> Iterator[tuple[str, bytes]]:
    """Yield the manifests that give groups their roles, one file per role: a file that disappears removes its role."""
    for group, roles in cluster.group_roles.items():
        for role in roles:
            name = f"group-role-{sha256(json.dumps([group, role]).encode()).hexdigest()[:12]}"
            yield f"{name}.yaml", render("addons/group-role.yaml", name=name, group=group, role=role)


def dns_replicas(cluster: Cluster) -> int:
    """Return the number of CoreDNS pods: two for two nodes or more, and at least one for each 16 nodes."""
    nodes = sum(registered(node, cluster) for node in cluster.nodes)
    return cluster.dns.replicas or max(min(2, nodes), -(-nodes // 16))


def api_revocations(pki: Pki) -> dict[str, bytes]:
    """Return by file name the manifest with which API servers refuse revoked certificates; empty without any."""
    certificates = pki.revocations.certificates
    return {"revoked.yaml": render("addons/revoked.yaml", certificates=certificates)} if certificates else {}


def user_kubeconfig(cluster: Cluster, user: str, pair: KeyPair, ca: bytes, server: str) -> bytes:
    """Return a kubeconfig that contains its certificates, for use on other computers."""
    return render("kubeconfig-inline", cluster=cluster, user=user, pair=pair, ca=ca, server=server)
