"""Which member of etcd to take a snapshot of, decided from a look at each, and when a change needs one first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kubekeel.artifacts import Supply
from kubekeel.backup import BackupError
from kubekeel.cluster import Cluster, Node
from kubekeel.status import member

CORRUPT = "CORRUPT"

# What etcdctl says where etcd does not let it in, rather than that no quorum answers.
_SHUT_OUT = re.compile(r"x509: |tls: |permission denied")
_PARTS = (("etcd", "etcd", "etcd"), ("masters", "kubectl", "Kubernetes"))
"""Of what serves in each role: a binary that has its version, and what it is called."""


@dataclass(frozen=True)
class MemberSeen:
    """A member as its host showed it.

    By `serves` a quorum answers through it, by `elsewhere` through others only; `said` is etcdctl's complaint.
    `alarms` are its own. `reached` is how far it has come: raft's term and index.
    """

    serves: bool = False
    elsewhere: bool = False
    said: str = ""
    alarms: tuple[str, ...] = ()
    reached: tuple[int, int] = (0, 0)


def read(lines: Iterable[str]) -> MemberSeen:
    """What a look at a member printed: lines that begin with `serves`, `elsewhere`, `said` or `status`."""
    fields = dict(line.partition(" ")[::2] for line in lines)
    found = json.loads(fields.get("status") or "null")
    status = found[0]["Status"] if found else {}
    own = member(fields.get("status", ""), status.get("errors", ()))
    return MemberSeen(
        serves="serves" in fields,
        elsewhere="elsewhere" in fields,
        said=fields.get("said", ""),
        alarms=own.alarms if own else (),
        reached=(status.get("raftTerm", 0), status.get("raftIndex", 0)),
    )


def serving(seen: Mapping[Node, MemberSeen]) -> list[Node]:
    """The members through which a quorum answers; those whose data are known to differ from the others' come last."""
    return sorted((node for node in seen if seen[node].serves), key=lambda node: CORRUPT in seen[node].alarms)


def to_rescue(seen: Mapping[Node, MemberSeen]) -> Node:
    """The member whose disk has most, where no quorum answers; raises BackupError where one may well do."""
    if not seen:
        raise BackupError("etcd: all of its hosts are unreachable; start one")
    if faults := [fault for node, each in seen.items() for fault in _no_rescue(node.name, each)]:
        raise BackupError(*faults)
    return max(seen, key=lambda node: seen[node].reached)


def _no_rescue(name: str, seen: MemberSeen) -> Iterator[str]:
    if seen.elsewhere:
        yield f"{name}: its etcd does not serve, but a quorum of the others does ({seen.said}); leave --limit out"
    elif _SHUT_OUT.search(seen.said):
        yield f"{name}: its etcd refuses the administrator ({seen.said}); deploy, then back up"


def upgraded(cluster: Cluster, supply: Supply, links: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What a deploy is about to replace by another version of what serves, like "etcd on m".

    `links` are by name those of each node's folder of binaries; a node that is new, or not in the run, has none.
    """
    return [
        f"{called} on {node.name}"
        for role, binary, called in _PARTS
        for node in cluster.nodes
        if role in node.roles
        and (there := links.get(node.name, {}).get(binary))
        and supply.binary(binary, node.arch).sha256 not in there.split("/")
    ]
