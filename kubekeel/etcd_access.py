"""Who may do what in etcd: its roles and users as they shall be, and the steps from what there is to that."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

NETWORK = "/coreos.com/network"
"""Where flannel keeps its configuration and its leases."""

_KINDS = {0: "read", 1: "write", 2: "readwrite"}
"""authpb.Permission.Type, which JSON has as a name or, since zero is left out, not at all."""


@dataclass(frozen=True)
class Permission:
    """What a role may do with one key, or with all from it up to `range_end`."""

    kind: str
    key: str
    range_end: str = ""

    @classmethod
    def of_prefix(cls, kind: str, prefix: str) -> Permission:
        return cls(kind, prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))

    @property
    def range(self) -> tuple[str, ...]:
        """The key, and the end of its range where there is one, as etcdctl takes them."""
        return (self.key, self.range_end) if self.range_end else (self.key,)


ROLES = {
    # etcd itself gives this one all rights.
    "root": frozenset[Permission](),
    # flanneld reads its configuration, which may name programs to run, and never writes it. It lists and watches
    # the leases by this prefix exactly, without a slash at its end (getSubnets in its etcd registry).
    "flannel": frozenset(
        (Permission("read", f"{NETWORK}/config"), Permission.of_prefix("readwrite", f"{NETWORK}/subnets"))
    ),
}
# Users are known by their certificates' CN and have no password. kube-apiserver has the root role since etcd lets no
# lesser one compact (https://etcd.io/docs/latest/op-guide/authentication/rbac/).
USERS = {"root": "root", "kube-apiserver": "root", "flannel": "flannel"}
"""Each user's only role."""


@dataclass(frozen=True)
class Access:
    """What etcd says of its authentication: the roles of each user and the permissions of each role that is there."""

    enabled: bool = False
    users: dict[str, frozenset[str]] = field(default_factory=dict)
    roles: dict[str, frozenset[Permission]] = field(default_factory=dict)
    network: str = ""


def read(lines: Iterable[str]) -> Access:
    """The access in lines of "auth true", "user NAME JSON", "role NAME JSON" and "network TEXT"."""
    enabled, network = False, ""
    users: dict[str, frozenset[str]] = {}
    roles: dict[str, frozenset[Permission]] = {}
    for line in lines:
        kind, _, rest = line.partition(" ")
        name, _, text = rest.partition(" ")
        if kind == "auth":
            enabled = rest == "true"
        elif kind == "user" and text:
            users[name] = frozenset(json.loads(text).get("roles") or ())
        elif kind == "role" and text:
            roles[name] = frozenset(map(_permission, json.loads(text).get("perm") or ()))
        elif kind == "network":
            network = rest
    return Access(enabled, users, roles, network)


def _permission(said: dict[str, str | int]) -> Permission:
    kind = said.get("permType", 0)
    return Permission(
        _KINDS[kind] if isinstance(kind, int) else kind.lower(),
        _text(said.get("key", "")),
        _text(said.get("range_end", "")),
    )


def _text(encoded: str | int) -> str:
    return b64decode(str(encoded)).decode(errors="surrogateescape")


def steps(seen: Access) -> list[tuple[str, ...]]:
    """The arguments of each call of etcdctl that brings access to what it shall be; none where it is."""
    return [*_role_steps(seen), *_user_steps(seen), *([] if seen.enabled else [("auth", "enable")])]


def _role_steps(seen: Access) -> Iterator[tuple[str, ...]]:
    for role, wanted in ROLES.items():
        if role not in seen.roles:
            yield "role", "add", role
        there = seen.roles.get(role, frozenset())
        # Granting again replaces the kind of a permission over the same range.
        for permission in _sorted(wanted - there):
            yield "role", "grant-permission", role, permission.kind, *permission.range
        kept = {permission.range for permission in wanted}
        for permission in _sorted(there):
            if wanted and permission.range not in kept:
                yield "role", "revoke-permission", role, *permission.range


def _user_steps(seen: Access) -> Iterator[tuple[str, ...]]:
    for user, role in USERS.items():
        if user not in seen.users:
            yield "user", "add", user, "--no-password"
        there = seen.users.get(user, frozenset())
        if role not in there:
            yield "user", "grant-role", user, role
        for other in sorted(there - {role}):
            yield "user", "revoke-role", user, other


def _sorted(permissions: Iterable[Permission]) -> list[Permission]:
    return sorted(permissions, key=lambda permission: permission.range)
