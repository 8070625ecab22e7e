"""The evidence for an audit on a host, without secrets."""

from __future__ import annotations

from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import yaml

from kubekeel.components import merged
from kubekeel.shell import script

COLLECT = script("node/evidence.sh")
"""Shell commands for root; `Evidence.read` parses their output, which has no secret."""

_COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")


@dataclass(frozen=True)
class FileSeen:
    mode: int
    owner: str


@dataclass(frozen=True)
class Evidence:
    """The evidence on one host.

    `arguments` has the arguments of each running component, `configurations` the parsed files that they name, by path.
    `rows` has the fields of all objects of each kind that could be listed; only a master can list objects.
    """

    arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, FileSeen] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    configurations: Mapping[str, Any] = field(default_factory=dict)
    providers: tuple[str, ...] = ()
    kubelet_unit: str = ""
    rows: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, lines: Iterable[str]) -> Evidence:
        """Return the evidence in the output of COLLECT."""
        rows: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
        for line in lines:
            kind, *fields = line.split("\t")
            rows[kind].append(tuple(fields))
        return cls(
            arguments=dict(filter(None, map(_component, rows["process"]))),
            files={path: FileSeen(int(mode, 8), owner) for mode, owner, path in rows["file"]},
            digests={path: digest for digest, path in rows["digest"]},
            configurations={path: yaml.safe_load(b64decode(text)) for path, text in rows["configuration"]},
            providers=tuple(provider for [provider] in rows["provider"]),
            kubelet_unit=next((path for [path] in rows["unit"]), ""),
            rows={kind: tuple(rows[kind]) for [kind] in rows["listed"]},
        )

    def argument(self, component: str, name: str) -> str | None:
        """Return the last value of an argument; None if it is missing, or if the component does not run."""
        value = None
        for argument, after in pairwise((*self.arguments.get(component, ()), "--")):
            flag, equals, text = argument.partition("=")
            if flag == f"--{name}":
                value = text if equals else "true" if after.startswith("--") else after
        return value

    def configuration(self, component: str) -> Any:
        """Return a component's --config file, parsed and merged with the files of its --config-dir."""
        found = self.configurations.get(self.argument(component, "config") or "") or {}
        folder = f"{self.argument(component, 'config-dir') or 'none'}/"
        for path in sorted(self.configurations):
            if path.startswith(folder):
                found = merged(found, self.configurations[path])
        return found


def _component(command: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
    name, arguments = PurePosixPath(command[0]).name, tuple(filter(None, command[1:]))
    # The API's balancer is `etcd gateway`.
    if name not in _COMPONENTS or arguments[:1] == ("gateway",):
        return None
    return name, arguments
