"""The record of the cluster on each host, and the comparison of a run's keys and inventory with it.

A run compares them before it writes anything, on hosts or in the state directory: with the keys of another cluster, or
with an old copy of the keys, it would destroy the host's data.
"""

from __future__ import annotations

import json
import re
import tomllib
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from cryptography import x509

from kubekeel.certificates import fingerprint, names_of
from kubekeel.cluster import Cluster, Node

PATH = "/etc/kubekeel/cluster.json"
"""The file with the record on a host."""

NETWORKS = (
    *("pod_network", "node_subnet_length", "service_network", "cluster_domain"),
    *("pod_network_provider", "flannel_backend"),
)
"""The settings that cannot change after the first deploy."""

_PROJECT = Path(__file__).resolve().parents[1]
VERSION: str = tomllib.loads((_PROJECT / "pyproject.toml").read_text())["project"]["version"]
_DIGITS = 16
_PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----\n.*?-----END PUBLIC KEY-----", re.S)

Fingerprints = Mapping[str, frozenset[str]]
"""The SHA-256 of certificates, in hex, by authority: two for an authority during its rotation."""


@dataclass(frozen=True)
class Keys:
    """The keys in the state directory `place`; `encryption_keys` are digests by the key's name,
    `revocations` is the number of the last revocation.

    `client_authorities` has the start, in ISO 8601, of each authority that only API servers trust and that hosts may
    have, by name; empty for one that is not there.

    Files that are `missing` were lost or never made: no host can belong to this cluster yet.
    """

    place: Path
    missing: tuple[str, ...] = ()
    authorities: Fingerprints = field(default_factory=dict)
    encryption_keys: Mapping[str, str] = field(default_factory=dict)
    service_account_keys: frozenset[str] = frozenset()
    client_authorities: Mapping[str, str] = field(default_factory=dict)
    revocations: int = 0


@dataclass(frozen=True)
class Identity:
    """A host's cluster and node; all fields are empty for a host without a cluster.

    `networks` has the settings NETWORKS. `kubernetes` and `kubekeel` are the versions of the last finished deploy;
    `roles` are the roles whose files it has, including former roles until a deploy is finished. `revocations` is
    the number of the last revocation that was deployed. `served` means that a deploy has been finished once.
    """

    cluster: str = ""
    node: str = ""
    address: str = ""
    authorities: Fingerprints = field(default_factory=dict)
    encryption_keys: Mapping[str, str] = field(default_factory=dict)
    service_account_keys: frozenset[str] = frozenset()
    client_authorities: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    roles: frozenset[str] = frozenset()
    kubernetes: str = ""
    kubekeel: str = ""
    revocations: int = 0
    served: bool = False

    def without_clients(self) -> Identity:
        """Return this identity without the keys by which API servers know clients that are not nodes."""
        return replace(self, service_account_keys=frozenset(), client_authorities={})

    def has(self, authority: str) -> bool:
        """Return whether one of its authorities has this fingerprint: "sha256:" and at least the digits in faults."""
        digits = authority.removeprefix("sha256:")
        known = (each for several in self.authorities.values() for each in several)
        return len(digits) >= _DIGITS and any(each.startswith(digits) for each in known)


def fingerprints(pem: bytes) -> frozenset[str]:
    """Return the SHA-256 of each certificate in a file; empty if the file is damaged."""
    return frozenset(map(fingerprint, _certificates(pem)))


def key_digest(secret: str) -> str:
    """Return a digest that identifies an encryption key without showing it; `secret` is base64."""
    return sha256(b64decode(secret)).hexdigest()[:_DIGITS]


def public_key_digests(pem: bytes) -> frozenset[str]:
    """Return a digest of each public key in a file."""
    return frozenset(sha256(key).hexdigest()[:_DIGITS] for key in _PUBLIC_KEY.findall(pem))


def start(certificate: x509.Certificate) -> str:
    """Return the start of a certificate's life, in ISO 8601: of two, the later one was made later."""
    return f"{certificate.not_valid_before_utc:%FT%TZ}"


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


# The record on a host.


def described(node: Node, cluster: Cluster, authorities: Fingerprints, revocations: int = 0) -> Identity:
    """Return a node's record after a finished deploy."""
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
    """Return a node's record during a deploy, from the described record and the record `seen` before."""
    roles = described.roles | seen.roles
    return replace(described, roles=roles, kubernetes=seen.kubernetes, kubekeel=seen.kubekeel, served=seen.served)


def written(identity: Identity) -> bytes:
    """Return the content of the file at PATH; it has no secret."""
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
    service_accounts: bytes = b"",
    clients: bytes = b"",
    networks: Mapping[str, str] | None = None,
) -> Identity:
    """Return the identity of a host from its `record` at PATH, its authorities by name and file, and encryption keys.

    `service_accounts` are the public keys that verify tokens, `clients` the authorities of API servers' clients.

    If the record is damaged or missing (earlier versions wrote none), `node`, `served` and `networks`, the settings in
    use, replace it.
    """
    certificates = [(name, each) for name, pem in authorities for each in _certificates(pem)]
    cluster = next((_organization(each) for _, each in certificates), "")
    identity = _recorded(record) or Identity(
        # A host without a cluster may have settings of other programs.
        cluster=cluster,
        node=node,
        served=served,
        networks=networks if networks and cluster else {},
    )
    known = {name: set(each) for name, each in identity.authorities.items()}
    for name, certificate in certificates:
        known.setdefault(name, set()).add(fingerprint(certificate))
    return replace(
        identity,
        authorities={name: frozenset(each) for name, each in known.items()},
        encryption_keys=encryption_keys or {},
        service_account_keys=public_key_digests(service_accounts),
        client_authorities={_name(each): start(each) for each in sorted(_certificates(clients), key=start)},
    )


def _recorded(record: bytes) -> Identity | None:
    try:
        fields = json.loads(record)
        return Identity(
            cluster=fields["cluster"],
            node=fields["node"],
            address=fields["address"],
            authorities={name: frozenset(each) for name, each in fields["authorities"].items()},
            networks=dict(fields["networks"]),
            roles=frozenset(fields["roles"]),
            kubernetes=fields["kubernetes"],
            kubekeel=fields["kubekeel"],
            # Earlier versions revoked nothing.
            revocations=int(fields.get("revocations", 0)),
            served=bool(fields["kubernetes"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _name(authority: x509.Certificate) -> str:
    return names_of(authority)[0].removeprefix("kubekeel ")


def _organization(authority: x509.Certificate) -> str:
    """Return the cluster's name, which is in the subject of each authority."""
    return "".join(names_of(authority)[1])


# Whether a run's keys and inventory match the record.


Identities = Mapping[str, Identity]
"""The identities of the hosts that were looked at, by their names in the inventory."""

_Finding = tuple[str, str, str]
"""The problem, the observed value, and the remedy."""


def strangers(cluster: Cluster, identities: Identities, keys: Keys) -> list[str]:
    """Return the hosts that belong to another cluster than `keys`, or have newer keys, one line per reason."""
    return _lines(cluster, identities, lambda _, identity: _strange(identity, keys))


def misfits(cluster: Cluster, identities: Identities, keys: Keys) -> list[str]:
    """Return the forbidden changes of this cluster or its nodes in the inventory, one line each.

    Strangers are left out.
    """
    ours = {name: identity for name, identity in identities.items() if not any(_strange(identity, keys))}
    return _lines(cluster, ours, lambda node, identity: _changed(node, identity, cluster))


def moved_members(cluster: Cluster, identities: Identities) -> list[str]:
    """Return the members of etcd whose address in the inventory has changed, one line per reason."""
    return _lines(cluster, identities, _moved)


def lost_data(
    cluster: Cluster, identities: Identities, blank: Collection[str], elsewhere: Collection[str]
) -> list[str]:
    """Return the reason why `blank` hosts must not found a new etcd: this cluster had data before.

    The hosts' identities show this. Hosts `elsewhere` were deployed to before, and are not in this run: they do not
    count after a first deploy that failed, which has begun on all members.
    """
    if all(_has_begun(node, identities, cluster.name) for node in cluster.etcd):
        elsewhere = ()
    served = [node.name for node in cluster.nodes if node.name in elsewhere or _served(node, identities)]
    if not served or not {node.name for node in cluster.etcd} <= set(blank):
        return []
    remedy = (
        "restore the cluster from a backup: actions/restore.py; to begin with an empty etcd, which ends everything that"
        f" runs now, --data confirm={cluster.name}"
    )
    hosts = ", ".join(node.name for node in cluster.etcd)
    return [f"{hosts}: no etcd data, although the cluster has served (deployed: {', '.join(served)}); {remedy}"]


def _has_begun(node: Node, identities: Identities, cluster: str) -> bool:
    return node.name in identities and identities[node.name].cluster == cluster and not identities[node.name].served


def _served(node: Node, identities: Identities) -> bool:
    return node.name in identities and identities[node.name].served


def _lines(
    cluster: Cluster, identities: Identities, findings: Callable[[Node, Identity], Iterator[_Finding]]
) -> list[str]:
    """Return one line per finding, with all the hosts that have it."""
    names: defaultdict[_Finding, list[str]] = defaultdict(list)
    for node in cluster.nodes:
        if identity := identities.get(node.name):
            for finding in findings(node, identity):
                names[finding].append(node.name)
    return [f"{', '.join(hosts)}: {problem} ({value}); {remedy}" for (problem, value, remedy), hosts in names.items()]


def _strange(identity: Identity, keys: Keys) -> Iterator[_Finding]:
    if seen := _unknown_cluster(identity, keys):
        remedy = (
            "use that cluster's state directory, or correct state_dir or the inventory; docs/preflight.md says how to"
            " use the host for another cluster"
        )
        yield "belongs to a cluster whose keys are not here", seen, remedy
        return
    newest = max(map(_number, keys.encryption_keys), default=0)
    unknown = [
        name
        for name, digest in sorted(identity.encryption_keys.items())
        if _number(name) > newest or keys.encryption_keys.get(name, digest) != digest
    ]
    if unknown:
        remedy = "that file is an old copy: use the state directory in which the key was last rotated"
        yield (
            "has an encryption key unknown here",
            f"{', '.join(unknown)}; not in {keys.place / 'encryption.key'}",
            remedy,
        )
    if tokens := sorted(identity.service_account_keys - keys.service_account_keys):
        seen = f"sha256:{', '.join(tokens)}; not in {keys.place / 'service-account.pub'}"
        remedy = "that file is an old copy: use the state directory in which the key was last rotated"
        yield "has a service-account key unknown here", seen, remedy
    for name, made in sorted(identity.client_authorities.items()):
        # An older one was replaced, and no host need know the new one yet.
        if made > keys.client_authorities.get(name, made):
            seen = f"{name} of {made}; {keys.place / name}.crt is older or missing"
            remedy = "that file is an old copy: use the state directory in which the authority was made"
            yield "has a client authority unknown here", seen, remedy
    if identity.revocations > keys.revocations:
        seen = f"number {identity.revocations}; {keys.place / 'revocations.json'} has {keys.revocations}"
        remedy = "that file is an old copy: use the state directory of the last revocation"
        yield "has a revocation unknown here", seen, remedy


def _unknown_cluster(identity: Identity, keys: Keys) -> str:
    """Return a host's unknown cluster and the state directory's own keys; empty for the same cluster."""
    if keys.missing and (identity.authorities or identity.node):
        return f"{_shown(identity, identity.authorities)}; {keys.place / keys.missing[0]} is missing"
    unknown = {name: each - keys.authorities.get(name, frozenset()) for name, each in identity.authorities.items()}
    for name in filter(unknown.get, unknown):
        return f"{_shown(identity, {name: unknown[name]})}; {keys.place / name}.crt is another"
    return ""


def _shown(identity: Identity, authorities: Fingerprints) -> str:
    authority = next((f"{name} sha256:{min(each)[:_DIGITS]}" for name, each in authorities.items() if each), "")
    return " of ".join(filter(None, (authority or identity.node, identity.cluster)))


def _number(key: str) -> int:
    digits = key.removeprefix("key")
    return int(digits) if digits.isdecimal() else 0


def _changed(node: Node, identity: Identity, cluster: Cluster) -> Iterator[_Finding]:
    now = {"cluster_name": cluster.name, **{setting: str(getattr(cluster, setting)) for setting in NETWORKS}}
    recorded = {"cluster_name": identity.cluster, **identity.networks}
    for setting, value in now.items():
        if recorded.get(setting, value) not in ("", value):
            problem = f"{setting} cannot change after the first deploy"
            yield problem, f"{recorded[setting]}, not {value}", "set it back in group_data/all.py"
    if identity.node not in ("", node.name):
        remedy = (
            f"name it {identity.node} again; or remove it under that name (actions/remove_node.py --data"
            f" node={identity.node}), then deploy it as {node.name}"
        )
        yield f"is node {identity.node} of this cluster, and a node's name cannot change", node.address, remedy


def _moved(node: Node, identity: Identity) -> Iterator[_Finding]:
    if "etcd" in node.roles & identity.roles and identity.address != node.address:
        remedy = 'give it that address back, or follow docs/operations/nodes.md: "Another address"'
        yield "is a member of etcd at another address", f"{identity.address}, not {node.address}", remedy
