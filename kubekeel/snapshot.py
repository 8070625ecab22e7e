"""The member of etcd from which to take a snapshot, and the changes that need a snapshot first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kubekeel.artifacts import Supply
from kubekeel.backup import BackupError
from kubekeel.cluster import Cluster, Node
from kubekeel.membership import CORRUPT
from kubekeel.status import member

# etcdctl's errors if etcd refuses it, as opposed to a missing quorum.
_REFUSED = re.compile(r"x509: |tls: |permission denied")
_PARTS = (("etcd", "etcd", "etcd"), ("masters", "kubectl", "Kubernetes"))
"""For each role: the binary that shows the version of its component, and the component's name."""


@dataclass(frozen=True)
class MemberSeen:
    """The observed state of a member.

    `serves` means that a quorum answers through it, `elsewhere` that a quorum answers only through others; `said` is
    etcdctl's error. `alarms` are its own. `reached` is its progress: raft's term and index.
    """

    serves: bool = False
    elsewhere: bool = False
    said: str = ""
    alarms: tuple[str, ...] = ()
    reached: tuple[int, int] = (0, 0)


def read(lines: Iterable[str]) -> MemberSeen:
    """Parse the output of a look at a member: lines that begin with `serves`, `elsewhere`, `said` or `status`."""
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
    """Return the members through which a quorum answers; members with the alarm CORRUPT come last."""
    return sorted((node for node in seen if seen[node].serves), key=lambda node: CORRUPT in seen[node].alarms)


def to_rescue(seen: Mapping[Node, MemberSeen]) -> Node:
    """Return the member with the most recent data if no quorum answers; raises BackupError if a quorum may answer."""
    if not seen:
        raise BackupError("etcd: all of its hosts are unreachable; start one")
    if faults := [fault for node, each in seen.items() for fault in _no_rescue(node.name, each)]:
        raise BackupError(*faults)
    return max(seen, key=lambda node: seen[node].reached)


def _no_rescue(name: str, seen: MemberSeen) -> Iterator[str]:
    if seen.elsewhere:
        yield f"{name}: its etcd does not serve, but a quorum of the others does ({seen.said}); leave --limit out"
    elif _REFUSED.search(seen.said):
        yield f"{name}: its etcd refuses the administrator ({seen.said}); deploy, then back up"


def upgraded(cluster: Cluster, supply: Supply, links: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the serving components whose version a deploy will change, like "etcd on m".

    `links` has the links in each node's folder of binaries, by node; new nodes and nodes outside the run have none.
    """
    return [
        f"{called} on {node.name}"
        for role, binary, called in _PARTS
        for node in cluster.nodes
        if role in node.roles
        and (link := links.get(node.name, {}).get(binary))
        and supply.binary(binary, node.arch).sha256 not in link.split("/")
    ]
