"""Checks of the name, the groups and the days of a new user with a certificate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from kubekeel.cluster import Cluster
from kubekeel.pki import METRICS_READER, profiles
from kubekeel.settings.authentication import RESERVED

DAYS = 30
_MOST_DAYS = 365
# X.509 allows 64 characters in a name. It is also a file name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/-]{0,63}")


def groups(arguments: Mapping[str, object]) -> tuple[str, ...]:
    """Return the comma-separated parts of `groups`."""
    return tuple(filter(None, str(arguments.get("groups", "")).split(",")))


def faults(arguments: Mapping[str, object], cluster: Cluster) -> Iterator[str]:
    """Yield the faults in the name, the groups and the days of a new user."""
    name, days = arguments.get("user", ""), arguments.get("days", DAYS)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield (
            f"--data user: is not a name ({name or 'missing'}); take at most 64 letters, digits and . _ @ -, and begin"
            " with a letter or a digit"
        )
    elif name in _taken(cluster):
        yield f"--data user: is a name that the cluster uses itself ({name}); take another one"
    for group in groups(arguments):
        if group.startswith(RESERVED):
            yield f"--data groups: is reserved for the cluster ({group}); take another name, and bind roles to it"
        elif not _GROUP.fullmatch(group):
            remedy = "take letters, digits and . _ @ : / -, and put commas between groups"
            yield f"--data groups: is not a group ({group}); {remedy}"
    if type(days) is not int or not 1 <= days <= _MOST_DAYS:
        yield f"--data days: is out of range ({days}); take a whole number from 1 to {_MOST_DAYS}"


def _taken(cluster: Cluster) -> frozenset[str]:
    """Return the names in the cluster's own certificates."""
    used = {profile.common_name for node in cluster.nodes for profile in profiles(node, cluster, "")}
    return frozenset(used | {node.name for node in cluster.nodes} | {"kubekeel-break-glass", METRICS_READER})
