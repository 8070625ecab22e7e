"""Evidence from a host's described files, so that a run warns of settings that fail controls."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

import yaml

from kubekeel.cis import CONTROLS, Evidence, hosts
from kubekeel.cis.evidence import FileSeen
from kubekeel.cluster import Cluster, Node
from kubekeel.files import Directory, File, Tree
from kubekeel.parts import described, placeholder
from kubekeel.render import MANIFESTS
from kubekeel.settings.groups import ClusterComponents, Components

_UNITS = ("etcd", "kubelet", "kube-proxy")


def evidence(tree: Tree) -> Evidence:
    """Return the evidence in a host's files, without Kubernetes objects."""
    files = {path: entry.content for path, entry in tree.items() if isinstance(entry, File)}
    arguments = dict(_started(files))
    values = {word.partition("=")[2] for each in arguments.values() for word in each}
    folders = tuple(f"{path}/" for path in values if isinstance(tree.get(path), Directory))
    configurations: dict[str, Any] = {
        path: yaml.safe_load(content)
        for path, content in files.items()
        if (path in values and path.endswith(".yaml")) or (path.startswith(folders) and path.endswith(".conf"))
    }
    keys = configurations.get("/etc/kubernetes/encryption-config.yaml") or {"resources": []}
    return Evidence(
        arguments=arguments,
        files={path: FileSeen(e.mode, e.owner) for path, e in tree.items() if isinstance(e, (File, Directory))},
        digests={path: sha256(files[path]).hexdigest() for path in values & files.keys() if path.endswith(".crt")},
        configurations=configurations,
        providers=tuple(next(iter(each["providers"][0])) for each in keys["resources"]),
        kubelet_unit="/etc/systemd/system/kubelet.service",
    )


def _started(files: Mapping[str, bytes]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every component that a host's files start, with its arguments."""
    for path, content in files.items():
        if path.startswith(f"{MANIFESTS}/"):
            (container,) = yaml.safe_load(content)["spec"]["containers"]
            yield container["name"], tuple(container["command"][1:])
        elif path.endswith(".service") and (name := PurePosixPath(path).stem) in _UNITS:
            (start,) = re.findall(r"^ExecStart=((?:.*\\\n)*.*)$", content.decode(), re.MULTILINE)
            yield name, tuple(word.strip('"') for word in start.replace("\\\n", " ").split()[1:])


def opened(cluster: Cluster) -> list[str]:
    """Return the controls that fail only because of the user's component settings, one line each."""
    nodes = tuple(replace(node, **vars(Components())) for node in cluster.nodes)
    plain = replace(cluster, nodes=nodes, **vars(ClusterComponents()))
    if plain == cluster:
        return []
    closed = {node.name: _faults(node, plain) for node in plain.nodes}
    found: dict[str, list[str]] = {}
    for node in cluster.nodes:
        for fault in _faults(node, cluster) - closed[node.name]:
            found.setdefault(fault, []).append(node.name)
    return [f"{', '.join(names)}: {fault}" for fault, names in sorted(found.items())]


def _faults(node: Node, cluster: Cluster) -> set[str]:
    seen = evidence(described(placeholder(node, cluster)))
    controls = (each for each in CONTROLS if each.scope != "cluster" and node.name in hosts(each.scope, cluster))
    found = ((each, each.check(seen) if each.check else "") for each in controls)
    return {
        f"{fault}; your settings do this, against control {control.id}: {control.text}"
        for control, fault in found
        if fault
    }
