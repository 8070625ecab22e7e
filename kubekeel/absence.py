"""Which hosts a deploy may do without because they are away."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from kubekeel.cluster import Cluster, quorum
from kubekeel.settings.values import REFUSE, part_of


def most(cluster: Cluster, hosts: int) -> int:
    """How many of the `hosts` of a run may be away, by the setting `unreachable`; of a part, one at least."""
    given = cluster.unreachable
    return 0 if given == REFUSE else part_of(given, hosts)


def refusals(cluster: Cluster, away: Collection[str], hosts: int) -> Iterator[str]:
    """Why a run of so many hosts cannot do without those that are `away`, by name; a line each.

    No master may be away, nor a member of etcd that the quorum needs. Members in maintenance count as away.
    """
    allowed = most(cluster, hosts)
    if len(away) > allowed:
        seen, remedy = f"{len(away)} of {hosts}, {allowed} may be", "start some, or leave them out: --exclude NAME"
        yield f"unreachable: more hosts are away than may be ({seen}); {remedy}"
    if masters := [node.name for node in cluster.masters if node.name in away]:
        yield f"unreachable: does not go for masters ({', '.join(masters)}); start them"
    members = [node.name for node in cluster.etcd if node.name in away]
    absent = [node for node in cluster.etcd if node.name in away or node.maintenance]
    if members and len(cluster.etcd) - len(absent) < quorum(len(cluster.etcd)):
        yield f"unreachable: does not go for members of etcd that the quorum needs ({', '.join(members)}); start them"
