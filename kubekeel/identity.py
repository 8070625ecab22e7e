"""A host knows its cluster: what it carries about that, and whether a run's keys and inventory are those it knows.

Everything a run writes, on hosts and in the state directory, comes after this: a host of another cluster, or of this
one by an older copy of its keys, would lose what it has.
"""

from __future__ import annotations

import json
import tomllib
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from kubekeel.cluster import Cluster, Node

PATH = "/etc/kubekeel/cluster.json"
"""Where a host carries it."""

NETWORKS = (
    *("pod_network", "node_subnet_length", "service_network", "cluster_domain"),
    *("pod_network_provider", "flannel_backend"),
)
"""The settings that a cluster keeps as it was made with them."""

_PROJECT = Path(__file__).resolve().parents[1]
VERSION: str = tomllib.loads((_PROJECT / "pyproject.toml").read_text())["project"]["version"]
_DIGITS = 16

Fingerprints = Mapping[str, frozenset[str]]
"""The SHA-256 of certificates, in hex, by authority: two of one while another takes over from it."""


@dataclass(frozen=True)
class Keys:
    """What the state directory `place` knows of a cluster; `encryption_keys` are digests by the key's name,
    `revocations` is the number of the last one.

    Files that are `missing` were lost, or never made: no host can belong to their cluster yet.
    """

    place: Path
    missing: tuple[str, ...] = ()
    authorities: Fingerprints = field(default_factory=dict)
    encryption_keys: Mapping[str, str] = field(default_factory=dict)
    revocations: int = 0


@dataclass(frozen=True)
class Identity:
    """Which node of which cluster a host is, as it shows; all empty for a host that belongs to none.

    `networks` has the settings NETWORKS. `kubernetes` and `kubekeel` are the versions of the last deploy that was
    finished there; `roles` are those it has files of: until a deploy is finished, those it had before as well.
    `revocations` is the number of the last one that it was deployed with. `served` says that a deploy was ever
    finished.
    """

    cluster: str = ""
    node: str = ""
    address: str = ""
    authorities: Fingerprints = field(default_factory=dict)
    encryption_keys: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    roles: frozenset[str] = frozenset()
    kubernetes: str = ""
    kubekeel: str = ""
    revocations: int = 0
    served: bool = False

    def has(self, authority: str) -> bool:
        """Whether an authority of its has this fingerprint, "sha256:" and at least the digits that faults show."""
        digits = authority.removeprefix("sha256:")
        known = (each for several in self.authorities.values() for each in several)
        return len(digits) >= _DIGITS and any(each.startswith(digits) for each in known)


def fingerprints(pem: bytes) -> frozenset[str]:
    """The SHA-256 of each certificate in a file; of none where it is damaged."""
    return frozenset(map(_fingerprint, _certificates(pem)))


def key_digest(secret: str) -> str:
    """What tells an encryption key from others without showing it; `secret` is base64."""
    return sha256(b64decode(secret)).hexdigest()[:_DIGITS]


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


# What a host carries.


def described(node: Node, cluster: Cluster, authorities: Fingerprints, revocations: int = 0) -> Identity:
    """What a node carries once a deploy is finished there."""
    return Identity(
        cluster=cluster.name,
        node=node.name,
        address=node.address,
        authorities=authorities,
        networks={setting: str(getattr(cluster, setting)) for setting in NETWORKS},
        roles=node.roles,
        kubernetes=cluster.kubernetes_version,
        kubekeel=VERSION,
        revocations=revocations,
        served=True,
    )


def begun(described: Identity, seen: Identity) -> Identity:
    """What a node carries from the beginning of a deploy to its end, by what it carried before."""
    roles = described.roles | seen.roles
    return replace(described, roles=roles, kubernetes=seen.kubernetes, kubekeel=seen.kubekeel, served=seen.served)


def written(identity: Identity) -> bytes:
    """The content of the file at PATH; it holds no secret."""
    content = {
        "cluster": identity.cluster,
        "node": identity.node,
        "address": identity.address,
        "authorities": {name: sorted(each) for name, each in sorted(identity.authorities.items())},
        "networks": dict(identity.networks),
        "roles": sorted(identity.roles),
        "kubernetes": identity.kubernetes,
        "kubekeel": identity.kubekeel,
        "revocations": identity.revocations,
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def shown(
    record: bytes,
    authorities: Iterable[tuple[str, bytes]] = (),
    encryption_keys: Mapping[str, str] | None = None,
    node: str = "",
    served: bool = False,
) -> Identity:
    """The identity of a host that has `record` at PATH and these authorities, names and files, and encryption keys.

    Where there is no record, as earlier versions wrote none, or a damaged one, `node` and `served` stand for its.
    """
    certificates = [(name, each) for name, pem in authorities for each in _certificates(pem)]
    cluster = next((_organization(each) for _, each in certificates), "")
    identity = _recorded(record) or Identity(cluster=cluster, node=node, served=served)
    known = {name: set(each) for name, each in identity.authorities.items()}
    for name, certificate in certificates:
        known.setdefault(name, set()).add(_fingerprint(certificate))
    return replace(
        identity,
        authorities={name: frozenset(each) for name, each in known.items()},
        encryption_keys=encryption_keys or {},
    )


def _recorded(record: bytes) -> Identity | None:
    try:
        told = json.loads(record)
        return Identity(
            cluster=told["cluster"],
            node=told["node"],
            address=told["address"],
            authorities={name: frozenset(each) for name, each in told["authorities"].items()},
            networks=dict(told["networks"]),
            roles=frozenset(told["roles"]),
            kubernetes=told["kubernetes"],
            kubekeel=told["kubekeel"],
            # Earlier versions revoked nothing.
            revocations=int(told.get("revocations", 0)),
            served=bool(told["kubernetes"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _organization(authority: x509.Certificate) -> str:
    """The name of its cluster, which each authority carries."""
    return "".join(str(each.value) for each in authority.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))


# Whether a run knows it.


Identities = Mapping[str, Identity]
"""Those of the hosts that were looked at, by the names that the inventory has for them."""

_Finding = tuple[str, str, str]
"""What is wrong, the value seen, and what to do."""


def strangers(cluster: Cluster, identities: Identities, keys: Keys) -> list[str]:
    """The hosts that know another cluster than `keys` are of, or newer keys, a line for each reason."""
    return _lines(cluster, identities, lambda _, identity: _strange(identity, keys))


def misfits(cluster: Cluster, identities: Identities, keys: Keys) -> list[str]:
    """What the inventory says otherwise than the cluster, or the node, was made, a line for each reason.

    Of strangers nothing is said.
    """
    ours = {name: identity for name, identity in identities.items() if not any(_strange(identity, keys))}
    return _lines(cluster, ours, lambda node, identity: _changed(node, identity, cluster))


def moved_members(cluster: Cluster, identities: Identities) -> list[str]:
    """The members of etcd that have another address in the inventory than before, a line each."""
    return _lines(cluster, identities, _moved)


def lost_data(
    cluster: Cluster, identities: Identities, blank: Collection[str], elsewhere: Collection[str]
) -> list[str]:
    """Why no other etcd is founded where all of its hosts are `blank`: this cluster had one.

    So hosts know, and those may that are `elsewhere`, not looked at, but were deployed to.
    """
    served = [node.name for node in cluster.nodes if node.name in elsewhere or _served(node, identities)]
    if not served or not {node.name for node in cluster.etcd} <= set(blank):
        return []
    remedy = (
        "bring the cluster back from a backup: actions/restore.py; for an empty one, in which all that runs now ends,"
        f" --data confirm={cluster.name}"
    )
    hosts = ", ".join(node.name for node in cluster.etcd)
    return [f"{hosts}: without data of etcd in a cluster that has served (deployed: {', '.join(served)}); {remedy}"]


def _served(node: Node, identities: Identities) -> bool:
    return node.name in identities and identities[node.name].served


def _lines(
    cluster: Cluster, identities: Identities, findings: Callable[[Node, Identity], Iterator[_Finding]]
) -> list[str]:
    """Each finding once, with all the hosts that it is true of."""
    names: defaultdict[_Finding, list[str]] = defaultdict(list)
    for node in cluster.nodes:
        if identity := identities.get(node.name):
            for finding in findings(node, identity):
                names[finding].append(node.name)
    return [f"{', '.join(hosts)}: {problem} ({value}); {remedy}" for (problem, value, remedy), hosts in names.items()]


def _strange(identity: Identity, keys: Keys) -> Iterator[_Finding]:
    if seen := _unknown_cluster(identity, keys):
        remedy = (
            "bring the folder of its keys, or correct state_dir or the inventory; docs/preflight.md says how a host is"
            " given up"
        )
        yield "of a cluster whose keys are not here", seen, remedy
        return
    newest = max(map(_number, keys.encryption_keys), default=0)
    unlike = [
        name
        for name, digest in sorted(identity.encryption_keys.items())
        if _number(name) > newest or keys.encryption_keys.get(name, digest) != digest
    ]
    if unlike:
        remedy = "that file is an old copy: bring the folder in which the key was rotated last"
        yield "encryption key unknown here", f"{', '.join(unlike)}; {keys.place / 'encryption.key'} lacks it", remedy
    if identity.revocations > keys.revocations:
        seen = f"number {identity.revocations}; {keys.place / 'revocations.json'} has {keys.revocations}"
        yield "revocation unknown here", seen, "that file is an old copy: bring the folder in which was revoked last"


def _unknown_cluster(identity: Identity, keys: Keys) -> str:
    """What a host shows of a cluster, and what is here instead; empty where it is the same one."""
    if keys.missing and (identity.authorities or identity.node):
        return f"{_told(identity, identity.authorities)}; {keys.place / keys.missing[0]} is missing"
    unknown = {name: each - keys.authorities.get(name, frozenset()) for name, each in identity.authorities.items()}
    for name in filter(unknown.get, unknown):
        return f"{_told(identity, {name: unknown[name]})}; {keys.place / name}.crt is another"
    return ""


def _told(identity: Identity, authorities: Fingerprints) -> str:
    shown = next((f"{name} sha256:{min(each)[:_DIGITS]}" for name, each in authorities.items() if each), "")
    return " of ".join(filter(None, (shown or identity.node, identity.cluster)))


def _number(key: str) -> int:
    digits = key.removeprefix("key")
    return int(digits) if digits.isdecimal() else 0


def _changed(node: Node, identity: Identity, cluster: Cluster) -> Iterator[_Finding]:
    now = {"cluster_name": cluster.name, **{setting: str(getattr(cluster, setting)) for setting in NETWORKS}}
    made = {"cluster_name": identity.cluster, **identity.networks}
    for setting, value in now.items():
        if made.get(setting, value) not in ("", value):
            problem = f"made with another {setting}, which a cluster keeps"
            yield problem, f"{made[setting]}, not {value}", "set it back in group_data/all.py"
    if identity.node not in ("", node.name):
        remedy = (
            f"call it {identity.node} again; or remove it by that name (actions/remove_node.py --data"
            f" node={identity.node}), then deploy it as {node.name}"
        )
        yield f"is {identity.node} of this cluster, whose name a node keeps", node.address, remedy


def _moved(node: Node, identity: Identity) -> Iterator[_Finding]:
    if "etcd" in node.roles & identity.roles and identity.address != node.address:
        remedy = 'give it that address back, or go about it as docs/operations/nodes.md says: "Another address"'
        yield "is a member of etcd by another address", f"{identity.address}, not {node.address}", remedy
