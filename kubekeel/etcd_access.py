"""The desired roles, users and leases in etcd, and the steps that create them.

Each node's flannel has its own user, which may write only the lease of that node's subnet. flanneld takes the subnet
whose lease has its address, or its former subnet, so the lease must exist before flanneld starts.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from ipaddress import IPv4Network
from itertools import islice

from kubekeel import flannel
from kubekeel.cluster import Cluster
from kubekeel.membership import CORRUPT, alarms
from kubekeel.needs import has_flannel

NETWORK = "/coreos.com/network"
"""The prefix of flannel's configuration and leases."""
LEASES = f"{NETWORK}/subnets"
RECORD = "/kubekeel/access"
"""The key of Kubekeel's record: the nodes' subnets, and the last correct revision of etcd's users and roles."""
SHARED = "flannel"
"""The user and role that flannel on all nodes shared in earlier versions."""

_KINDS = {0: "read", 1: "write", 2: "readwrite"}
"""authpb.Permission.Type; in JSON it is a name, and zero is left out."""


@dataclass(frozen=True)
class Permission:
    """A role's right to one key, or to all keys from it up to `range_end`."""

    kind: str
    key: str
    range_end: str = ""

    @classmethod
    def of_prefix(cls, kind: str, prefix: str) -> Permission:
        return cls(kind, prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))

    @property
    def range(self) -> tuple[str, ...]:
        """The key, and the end of its range if there is one, as etcdctl's arguments."""
        return (self.key, self.range_end) if self.range_end else (self.key,)


Roles = Mapping[str, frozenset[Permission]]

# flanneld reads its configuration, which may name programs to run, and never writes it. It lists and watches the leases
# by this prefix exactly, without a slash at its end (getSubnets in its etcd registry).
_READS = frozenset((Permission("read", f"{NETWORK}/config"), Permission.of_prefix("read", LEASES)))
# etcd knows users by the CN of their certificates; they have no password. kube-apiserver has the root role, because
# only root may compact (https://etcd.io/docs/latest/op-guide/authentication/rbac/).
_ADMINISTRATORS = {"root": "root", "kube-apiserver": "root"}


def user_of(node: str) -> str:
    """Return the etcd user, and role, of a node's flannel."""
    return f"flannel:{node}"


def lease_key(subnet: str) -> str:
    """Return the key of the lease of a subnet like 10.244.3.0-24."""
    return f"{LEASES}/{subnet}"


@dataclass(frozen=True)
class Record:
    """Kubekeel's own record in etcd: subnets by node, and the digest of the applied access, as of an auth revision.

    `shared` means that the user of earlier versions still exists.
    """

    revision: str = ""
    digest: str = ""
    shared: bool = False
    subnets: Mapping[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """All lines except the revision, which etcd knows only after the steps."""
        return [
            *(["shared"] if self.shared else []),
            *(f"subnet {node} {subnet}" for node, subnet in sorted(self.subnets.items())),
        ]


@dataclass(frozen=True)
class Access:
    """The observed authentication, flannel's configuration and leases, and Kubekeel's record in etcd.

    Without a quorum of etcd nothing was `answered`. `users` and `roles` have their contents only if the record does not
    already prove them correct. `alarms` are the IDs of members and the names of their alarms.
    """

    answered: bool = False
    enabled: bool = False
    revision: str = ""
    users: Mapping[str, frozenset[str]] = field(default_factory=dict)
    roles: Roles = field(default_factory=dict)
    network: str = ""
    leases: Mapping[str, str] = field(default_factory=dict)
    record: Record = field(default_factory=Record)
    alarms: tuple[tuple[str, str], ...] = ()

    @property
    def shared(self) -> bool:
        """Whether the shared user of earlier versions exists."""
        return self.record.shared or SHARED in self.users

    def subnet_of(self, node: str, address: str) -> str:
        """Return a node's subnet by the record, else by the leases; empty if it has none."""
        if node in self.record.subnets:
            return self.record.subnets[node]
        others = set(self.record.subnets.values())
        # Like flanneld, take the first lease with its address.
        leased = (subnet for subnet, lease in self.leases.items() if _described(lease).get("PublicIP") == address)
        return next((subnet for subnet in leased if subnet not in others), "")


@dataclass(frozen=True)
class Wanted:
    """The desired content of etcd: flannel's configuration, and by node name its address and lease."""

    network: str
    pods: IPv4Network
    length: int
    addresses: Mapping[str, str]
    leases: Mapping[str, str]

    @property
    def digest(self) -> str:
        """A digest of the wanted users, roles and permissions, independent of the nodes' subnets."""
        roles = _roles(dict.fromkeys(self.addresses, ""), shared=False)
        permitted = sorted((role, sorted(map(str, permissions))) for role, permissions in roles.items())
        users = sorted(_users(self.addresses, shared=False).items())
        return sha256(json.dumps([permitted, users]).encode()).hexdigest()[:16]


def wanted(cluster: Cluster, network: bytes) -> Wanted:
    """Return the desired content of a cluster's etcd, with flannel's configuration `network`."""
    nodes = [node for node in cluster.nodes if has_flannel(node, cluster)]
    return Wanted(
        network=network.decode().replace("\n", ""),
        pods=cluster.pod_network,
        length=cluster.node_subnet_length,
        addresses={node.name: node.address for node in nodes},
        leases={node.name: flannel.lease(node, cluster) for node in nodes},
    )


def complaints(seen: Access) -> Iterator[str]:
    """Yield why etcd takes no writes, by its alarms."""
    for member, alarm in seen.alarms:
        remedy = "delete the objects that fill it, then run actions/defragment.py"
        if alarm == CORRUPT:
            remedy = f"remove that member: actions/remove_member.py --data member={member}, then deploy again"
        yield f"etcd takes no writes (alarm {alarm} of member {member}); {remedy}"


def read(lines: Iterable[str]) -> Access:
    """Parse lines of "answered", "auth true", "revision NUMBER", "user NAME JSON", "role NAME JSON", "network TEXT",
    "leases JSON" and the record's: "granted REVISION DIGEST", "shared" and "subnet NODE SUBNET"."""
    seen = Access()
    users: dict[str, frozenset[str]] = {}
    roles: dict[str, frozenset[Permission]] = {}
    subnets: dict[str, str] = {}
    for line in lines:
        kind, _, rest = line.partition(" ")
        name, _, text = rest.partition(" ")
        match kind:
            case "answered":
                seen = replace(seen, answered=True)
            case "auth":
                seen = replace(seen, enabled=rest == "true")
            case "revision":
                seen = replace(seen, revision=rest)
            case "user" if text:
                users[name] = frozenset(json.loads(text).get("roles") or ())
            case "role" if text:
                roles[name] = frozenset(map(_permission, json.loads(text).get("perm") or ()))
            case "alarm":
                seen = replace(seen, alarms=(*seen.alarms, *alarms([rest])))
            case "network":
                seen = replace(seen, network=rest)
            case "leases" if rest:
                seen = replace(seen, leases=dict(_leases(rest)))
            case "granted":
                seen = replace(seen, record=replace(seen.record, revision=name, digest=text))
            case "shared":
                seen = replace(seen, record=replace(seen.record, shared=True))
            case "subnet":
                subnets[name] = text
    return replace(seen, users=users, roles=roles, record=replace(seen.record, subnets=subnets))


def _permission(found: dict[str, str | int]) -> Permission:
    kind = found.get("permType", 0)
    return Permission(
        _KINDS[kind] if isinstance(kind, int) else kind.lower(),
        _text(found.get("key", "")),
        _text(found.get("range_end", "")),
    )


def _leases(text: str) -> Iterator[tuple[str, str]]:
    for each in json.loads(text).get("kvs") or ():
        yield _text(each["key"]).removeprefix(f"{LEASES}/"), _text(each.get("value", ""))


def _text(encoded: str | int) -> str:
    return b64decode(str(encoded)).decode(errors="surrogateescape")


def _described(lease: str) -> dict[str, object]:
    """Return the fields of a lease; empty if the value is not a lease."""
    # Each node writes its own lease, and may write anything.
    with suppress(ValueError, RecursionError):
        if isinstance(fields := json.loads(lease), dict):
            return fields
    return {}


class NoSubnet(Exception):
    """The pod network has no subnet left."""


@dataclass(frozen=True)
class Plan:
    """The calls of etcdctl, by their arguments, that bring etcd to its desired content, and the record to write then.

    The record is None if the record in etcd stays correct.
    """

    steps: tuple[tuple[str, ...], ...] = ()
    record: Record | None = None


def plan(seen: Access, wanted: Wanted) -> Plan:
    """Return the plan from the observed to the desired access; NoSubnet if no subnet is left for a node."""
    subnets = _reserved(seen, wanted)
    steps: list[tuple[str, ...]] = []
    if seen.network != wanted.network:
        steps.append(("put", f"{NETWORK}/config", wanted.network))
    # Leases come before the rights to write them: flanneld finds its subnet only by the lease.
    for node, lease in wanted.leases.items():
        if not _has_fields(seen.leases.get(subnets[node], ""), lease):
            steps.append(("put", lease_key(subnets[node]), lease))
    if seen.enabled and _valid_digest(seen) == wanted.digest and seen.record.subnets == subnets:
        return Plan(tuple(steps))
    steps += [*_role_steps(seen, _roles(subnets, seen.shared)), *_user_steps(seen, _users(subnets, seen.shared))]
    if not seen.enabled:
        steps.append(("auth", "enable"))
    return Plan(tuple(steps), Record(digest=wanted.digest, shared=seen.shared, subnets=subnets))


def without(node: str, address: str, seen: Access, wanted: Wanted) -> Plan:
    """Return the plan that removes a node without pods from etcd; its flanneld must be stopped."""
    subnet, user = seen.subnet_of(node, address), user_of(node)
    steps = (
        *([("del", lease_key(subnet))] if subnet else []),
        *([("user", "delete", user)] if user in seen.users else []),
        *([("role", "delete", user)] if user in seen.roles else []),
    )
    if not steps:
        return Plan()
    kept = {name: each for name, each in seen.record.subnets.items() if name != node}
    # If the node is still in the inventory, the next deploy must create a new user for it.
    digest = "" if node in wanted.addresses else _valid_digest(seen)
    return Plan(steps, Record(digest=digest, shared=seen.shared, subnets=kept))


def without_shared(seen: Access) -> Plan:
    """Return the plan that removes the shared user of earlier versions, once all nodes have their own."""
    if not seen.shared:
        return Plan()
    record = replace(seen.record, digest=_valid_digest(seen), shared=False)
    return Plan((("user", "delete", SHARED), ("role", "delete", SHARED)), record)


def _valid_digest(seen: Access) -> str:
    """Return the record's digest; empty if somebody has changed etcd's users and roles since."""
    return seen.record.digest if seen.record.revision == seen.revision else ""


def _reserved(seen: Access, wanted: Wanted) -> dict[str, str]:
    """Return each node's subnet: by the record, else by the leases, else a free one."""
    subnets = dict(seen.record.subnets)
    for node, address in wanted.addresses.items():
        if subnet := seen.subnet_of(node, address):
            subnets[node] = subnet
    taken = {*seen.leases, *subnets.values()}
    # flannel leaves the first subnet free: its address would be the network's own.
    names = (str(each).replace("/", "-") for each in islice(wanted.pods.subnets(new_prefix=wanted.length), 1, None))
    free = (name for name in names if name not in taken)
    for node in wanted.addresses:
        if node not in subnets:
            try:
                subnets[node] = next(free)
            except StopIteration:
                raise NoSubnet(
                    f"{node}: there is no subnet left for it in pod_network ({len(taken)} in use);"
                    " remove nodes that are gone: actions/remove_node.py"
                ) from None
    return subnets


def _has_fields(lease: str, wanted: str) -> bool:
    """Return whether a lease has the wanted fields; flannel may have added others."""
    fields = _described(lease)
    return all(fields.get(name) == value for name, value in _described(wanted).items())


def _roles(subnets: Mapping[str, str], shared: bool) -> dict[str, frozenset[Permission]]:
    own = {user_of(node): _READS | {Permission("write", lease_key(subnet))} for node, subnet in subnets.items()}
    earlier = {Permission("read", f"{NETWORK}/config"), Permission.of_prefix("readwrite", LEASES)}
    # etcd itself gives root all rights.
    return {"root": frozenset(), **own, **({SHARED: frozenset(earlier)} if shared else {})}


def _users(nodes: Iterable[str], shared: bool) -> dict[str, str]:
    """Return each user's only role."""
    names = [*map(user_of, nodes), *([SHARED] if shared else [])]
    return {**_ADMINISTRATORS, **{name: name for name in names}}


def _role_steps(seen: Access, roles: Roles) -> Iterator[tuple[str, ...]]:
    for role, wanted in roles.items():
        if role not in seen.roles:
            yield "role", "add", role
        existing = seen.roles.get(role, frozenset())
        # Granting again replaces the kind of a permission over the same range.
        for permission in _sorted(wanted - existing):
            yield "role", "grant-permission", role, permission.kind, *permission.range
        kept = {permission.range for permission in wanted}
        for permission in _sorted(existing):
            if wanted and permission.range not in kept:
                yield "role", "revoke-permission", role, *permission.range


def _user_steps(seen: Access, users: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for user, role in users.items():
        if user not in seen.users:
            yield "user", "add", user, "--no-password"
        existing = seen.users.get(user, frozenset())
        if role not in existing:
            yield "user", "grant-role", user, role
        for other in sorted(existing - {role}):
            yield "user", "revoke-role", user, other


def _sorted(permissions: Iterable[Permission]) -> list[Permission]:
    return sorted(permissions, key=lambda permission: permission.range)
