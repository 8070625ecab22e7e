"""Which hosts a deploy may do without because they are away."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from kubekeel.cluster import Cluster, quorum
from kubekeel.settings.values import REFUSE, part_of


def most(cluster: Cluster, hosts: int) -> int:
    """Return how many of a run's `hosts` may be unreachable, by the setting `unreachable`; a percentage allows one."""
    limit = cluster.unreachable
    return 0 if limit == REFUSE else part_of(limit, hosts)


def refusals(cluster: Cluster, away: Collection[str], hosts: int) -> Iterator[str]:
    """Return why a run of so many hosts cannot go on without the hosts that are `away`, one line per reason.

    No master may be away, and no member of etcd that the quorum needs. Members in maintenance count as away.
    """
    allowed = most(cluster, hosts)
    if len(away) > allowed:
        seen, remedy = f"{len(away)} of {hosts}, {allowed} allowed", "start some, or leave them out: --exclude NAME"
        yield f"unreachable: too many hosts are unreachable ({seen}); {remedy}"
    if masters := [node.name for node in cluster.masters if node.name in away]:
        yield f"unreachable: every master must be reachable (not {', '.join(masters)}); start them"
    members = [node.name for node in cluster.etcd if node.name in away]
    absent = [node for node in cluster.etcd if node.name in away or node.maintenance]
    if members and len(cluster.etcd) - len(absent) < quorum(len(cluster.etcd)):
        yield f"unreachable: etcd loses its quorum without these members ({', '.join(members)}); start them"
