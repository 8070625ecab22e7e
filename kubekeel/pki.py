"""The cluster's keys and certificates, made and kept on the control machine.

Three authorities sign the certificates of etcd, of Kubernetes and of its aggregated APIs; their keys never leave the
state directory. Existing certificates are reused; unfit ones are reissued. Two more authorities sign only for clients
of the API servers: one for people, and one for the cluster itself if it signs certificates.

New files stay in memory until they are saved: a run that only looks, or is refused, does not change the folder.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from kubekeel import encryption
from kubekeel import revocations as revoked
from kubekeel.certificates import (
    CLIENT,
    SERVER,
    Issued,
    KeyPair,
    Profile,
    fits,
    issue,
    names_of,
    new_authority,
    private_pem,
    public_pem,
    revocation_list,
    signed_by,
)
from kubekeel.cluster import Cluster, Node
from kubekeel.encryption import EncryptionKeys
from kubekeel.etcd_access import user_of
from kubekeel.identity import Keys, fingerprints, key_digest, public_key_digests, start
from kubekeel.keyfolder import (
    Change,
    KeyFolder,
    PkiError,
    damaged,
    finish_interrupted_writes,
    locked,
    put,
    unchanged,
)
from kubekeel.revocations import ISSUED, REVOCATIONS, Certificate, Revocations

AUTHORITIES = ("ca", "etcd-ca", "front-proxy-ca")
CONTROL = "control machine"
"""Used in place of a node's name; no node can have this name."""
_USERS = "the users"
"""The same for users' certificates."""

_BREAK_GLASS_LIFE = timedelta(days=1)
_BLOCK = re.compile(
    rb"(?:key(?P<number>[1-9][0-9]*)\n)?(?P<pem>-----BEGIN ([A-Z ]+)-----\n.*?-----END \3-----\n?)", re.S
)


class Numbered(Protocol):
    """A numbered key; newer keys have higher numbers."""

    @property
    def number(self) -> int: ...


Key = TypeVar("Key", bound=Numbered)


@dataclass(frozen=True)
class Generation:
    """One of the successive pairs of an authority, or of the issuer of service accounts' tokens."""

    number: int
    pair: KeyPair


Ring = tuple[Generation, ...]
"""The first generation signs, all of them are trusted."""


class Step(Enum):
    """A step of a rotation; all hosts must have its changes before the next step."""

    TRUST = "trust"
    """A new key is trusted, in addition to the current one."""
    SIGN = "sign"
    """The new key signs, and certificates are issued by it."""
    RETIRE = "retire"
    """The old key is no longer trusted."""


@dataclass(frozen=True)
class Row:
    """The expiry of one certificate; `node` is CONTROL for the control machine's certificates."""

    node: str
    name: str
    not_after: datetime
    days_left: int


USERS = "users"
"""The folder of users' keys and kubeconfigs in the state directory."""

_CLIENT_SIGNER = Profile("signing-ca", "signing-ca", "kubekeel signing-ca", signs=True)
_USERS_SIGNER = Profile("users-ca", "users-ca", "kubekeel users-ca", signs=True)
_METRICS_SERVER = Profile(
    *("metrics-server", "ca", "metrics-server"), usages=SERVER, names=("metrics-server.kube-system.svc",)
)
METRICS = "metrics"
"""The name of the pair that reads metrics, and of each node's pair that serves them."""
METRICS_READER, METRICS_GROUP = "kubekeel-metrics", "kubekeel:metrics"
_METRICS = Profile(METRICS, "ca", METRICS_READER, (METRICS_GROUP,))
_BREAK_GLASS = Profile("break-glass", "ca", "kubekeel-break-glass", ("system:masters",))


def _user(name: str, groups: tuple[str, ...]) -> Profile:
    return Profile(name, _USERS_SIGNER.name, name, groups)


def _admin(group: str) -> Profile:
    return Profile("admin", "ca", "kubernetes-admin", (group,))


def profiles(node: Node, cluster: Cluster, administrators: str) -> tuple[Profile, ...]:
    """Return the certificates that `node` needs for its roles; `administrators` is the name of their group."""
    own = (node.name, node.address)
    local = ("127.0.0.1", "localhost")
    identity = partial(Profile, common_name=f"system:node:{node.name}", organizations=("system:nodes",))
    table = [
        Profile("flannel-etcd-client", "etcd-ca", user_of(node.name)),
        identity("kubelet-client", "ca"),
        identity("kubelet-server", "ca", usages=SERVER, names=own),
        Profile("kube-proxy", "ca", "system:kube-proxy"),
    ]
    if cluster.metrics:
        table.append(Profile(METRICS, "ca", node.name, usages=SERVER, names=own))
    if cluster.network_policy:
        table.append(Profile("kube-network-policies", "ca", "system:kube-network-policies"))
    if "etcd" in node.roles:
        table += [
            Profile("etcd-server", "etcd-ca", node.name, usages=SERVER, names=(*own, *local)),
            # Members accept only peers with this name, so no other certificate of the authority makes a member.
            Profile("etcd-peer", "etcd-ca", "etcd-peer", usages=(*SERVER, *CLIENT), names=(*own, *local)),
            Profile("etcd-root", "etcd-ca", "root"),
        ]
    if "masters" in node.roles:
        service = "kubernetes.default.svc"
        api = ("kubernetes", "kubernetes.default", service, f"{service}.{cluster.cluster_domain}")
        names = (*api, cluster.api_service_address, *local, *own, *cluster.api_names)
        table += [
            Profile("kube-apiserver", "ca", "kube-apiserver", usages=SERVER, names=names),
            Profile("kube-apiserver-etcd-client", "etcd-ca", "kube-apiserver"),
            Profile("kube-apiserver-kubelet-client", "ca", "kube-apiserver-kubelet-client"),
            Profile("front-proxy-client", "front-proxy-ca", "front-proxy-client"),
            Profile("kube-controller-manager", "ca", "system:kube-controller-manager"),
            Profile("kube-scheduler", "ca", "system:kube-scheduler"),
            _admin(administrators),
        ]
    return tuple(table)


_Leaves = Mapping[tuple[str, str], Issued]
"""Certificates by node (or CONTROL or _USERS), and by the name of their profile or user."""


@dataclass(frozen=True)
class _Content:
    """The content of a state directory, current or new."""

    rings: Mapping[str, Ring]
    encryption_keys: EncryptionKeys
    revocations: Revocations
    issued: frozenset[Certificate]
    leaves: _Leaves


class Pki:
    """Keys and certificates of one cluster, saved in its state directory or still unsaved.

    The methods that begin with `with` and `without` return a new Pki, in which something is issued or revoked.
    """

    def __init__(
        self,
        state_dir: Path,
        cluster: Cluster,
        nodes: Iterable[Node],
        now: datetime,
        content: _Content,
        changes: Iterable[Change] = (),
        missing: tuple[str, ...] = (),
        before: Pki | None = None,
    ) -> None:
        self._state_dir, self._cluster, self._nodes, self._now = state_dir, cluster, tuple(nodes), now
        self._content, self._missing, self._before = content, missing, before
        self._retired = Change()
        self._authorities = {
            name: tuple(_issued(state_dir / name, each.pair) for each in content.rings[name]) for name in AUTHORITIES
        }
        new = self._due()
        self._leaves = {**content.leaves, **new}
        self._replaced = {leaf: content.leaves[leaf] for leaf in new if leaf in content.leaves}
        issued = content.issued | {Certificate.of(*leaf, each.certificate) for leaf, each in self._of_nodes()}
        self._issued = revoked.lasting(issued)
        # A certificate is listed as issued before any host gets it.
        listed = [Change({ISSUED: self.issued})] if self._issued != content.issued else []
        self._unsaved = [*changes, *listed, _files_of(new)]

    @classmethod
    def open(
        cls,
        state_dir: Path,
        cluster: Cluster,
        now: datetime | None = None,
        nodes: Iterable[Node] | None = None,
        over: Mapping[str, bytes] | None = None,
        rotating: Iterable[str] = (),
    ) -> Pki:
        """Return the PKI of `cluster` in `state_dir`; missing, unfit and expiring certificates are reissued.

        Only `save` writes. With `nodes`, the certificates of other nodes are neither read nor issued.
        `over` has contents by file name that will replace files of `state_dir`.
        `now` is an aware datetime. Authorities that are `rotating` may have expired.
        Raises PkiError for damaged files, which are never replaced.
        """
        now = now or datetime.now(UTC)
        nodes = tuple(cluster.nodes if nodes is None else nodes)
        files = KeyFolder(state_dir, over or {})
        with unchanged(state_dir):
            roots, made = _open_roots(files, cluster, now)
            _check_ends(state_dir, {name: pair for name, pair in roots.items() if name not in rotating}, now)
            content = _Content(
                rings={name: _ring(state_dir, name, roots[name]) for name in _RINGS},
                encryption_keys=encryption.read(state_dir / ENCRYPTION_KEYS, roots["encryption"].key),
                revocations=revoked.read(state_dir / REVOCATIONS, files.read(REVOCATIONS)),
                issued=revoked.issued(state_dir / ISSUED, files.read(ISSUED)),
                leaves=_without_former_users(_load_all(files, _places(files, cluster, nodes))),
            )
        return cls(state_dir, cluster, nodes, now, content, [made], missing=tuple(made.private))

    def _due(self) -> dict[tuple[str, str], Issued]:
        """Return the leaves of the nodes and of the control machine that must be issued."""
        group, existing = self._content.revocations.administrators_group, self._content.leaves
        wanted = {(CONTROL, row.name): row for row in _control_profiles(self._cluster, group)}
        wanted |= {(node.name, row.name): row for node in self._nodes for row in profiles(node, self._cluster, group)}
        renew_before = self._now + timedelta(days=self._cluster.renew_before_days)
        return {
            leaf: issue(profile, self._signer(profile), self._now, profile.life)
            for leaf, profile in wanted.items()
            # An expired authority no longer signs: it must be rotated first.
            if profile.authority not in self.ended
            if leaf not in existing
            or not fits(existing[leaf], profile, self._signer(profile), renew_before)
            or self._is_given_up(existing[leaf], profile)
        }

    def _is_given_up(self, issued: Issued, profile: Profile) -> bool:
        """Whether a pair was revoked, or a rotation of the authority "ca" also ends it."""
        if profile == _CLIENT_SIGNER:
            return issued.certificate.not_valid_before_utc < self._authorities["ca"][0].certificate.not_valid_before_utc
        return self._content.revocations.has(issued.certificate)

    def _signer(self, profile: Profile) -> Issued | None:
        return self._authorities[profile.authority][0] if profile.authority in self._authorities else None

    def _of_nodes(self) -> Iterable[tuple[tuple[str, str], Issued]]:
        return ((leaf, each) for leaf, each in self._leaves.items() if leaf[0] not in (CONTROL, _USERS))

    @property
    def saved(self) -> bool:
        """Whether everything is in the state directory."""
        return not any(self._unsaved) and (self._before is None or self._before.saved)

    def save(self) -> None:
        """Write new files into the state directory; after an interruption the next run finds complete pairs.

        Raises PkiError if another run has created the cluster's keys meanwhile.
        """
        if self._before:
            self._before.save()
        self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._state_dir.chmod(0o700)
        with locked(self._state_dir):
            finish_interrupted_writes(self._state_dir)
            if others := [name for name in self._missing if (self._state_dir / name).exists()]:
                raise PkiError(
                    f"{self._state_dir / name}: another run made this file meanwhile; run again" for name in others
                )
            for change in self._unsaved:
                put(self._state_dir, change)
        self._replaced, self._unsaved, self._missing = {}, [], ()

    @property
    def ended(self) -> frozenset[str]:
        """The expired authorities; nobody trusts their certificates."""
        return frozenset(name for name, generations in self._authorities.items() if generations[0].end <= self._now)

    @property
    def opened(self) -> Pki:
        """The opened Pki from which this one was derived."""
        return self._before.opened if self._before else self

    def known(self) -> Keys:
        """Return the keys by which hosts of this cluster are recognised."""
        return Keys(
            self._state_dir,
            missing=self._missing,
            authorities={name: fingerprints(self.authority(name)) for name in AUTHORITIES},
            encryption_keys={key.name: key_digest(key.secret) for key in self.encryption_keys},
            service_account_keys=public_key_digests(self.service_account_key.cert),
            client_authorities={profile.name: self._start(profile.name) for profile in self._client_signers()},
            revocations=self.revocations.number,
        )

    def _client_signers(self) -> Iterable[Profile]:
        """Return the authorities that only API servers trust, without those that settings take from all hosts."""
        return (_USERS_SIGNER, *([_CLIENT_SIGNER] if self._cluster.sign_client_certificates else []))

    def _start(self, name: str) -> str:
        signer = self._content.leaves.get((CONTROL, name))
        return start(signer.certificate) if signer else ""

    def authority(self, name: str) -> bytes:
        """Return the certificate, PEM, of one of AUTHORITIES; during its rotation both, the older one first."""
        return b"".join(each.pair.cert for each in sorted(self._content.rings[name], key=_number))

    @property
    def service_account_key(self) -> KeyPair:
        """The key that signs tokens, and the public keys that verify them, the oldest first."""
        ring = self._content.rings[SERVICE_ACCOUNT]
        return KeyPair(b"".join(each.pair.cert for each in sorted(ring, key=_number)), ring[0].pair.key)

    @property
    def encryption_keys(self) -> EncryptionKeys:
        return self._content.encryption_keys

    @property
    def revocations(self) -> Revocations:
        return self._content.revocations

    def revocation_list(self) -> bytes:
        """Return etcd's revocation list, in DER; it has the serial numbers of all revoked certificates.

        Serial numbers of other authorities' certificates do no harm in it.
        """
        serials = [int(each.serial, 16) for each in self.revocations.certificates]
        # The newest generation signs it, so that the list stays the same when that generation takes over.
        generations = zip(self._content.rings["etcd-ca"], self._authorities["etcd-ca"], strict=True)
        newest = max(generations, key=lambda each: each[0].number)[1]
        return revocation_list(newest, serials, self.revocations.number, self.revocations.moment)

    def leaf(self, node: str, name: str) -> KeyPair:
        """Return the pair of `node` for the profile `name`."""
        return self._leaves[node, name].pair

    def control(self, name: str) -> KeyPair:
        """Return a pair that does not belong to one node: "admin", "metrics-server", and others that settings need."""
        return self._leaves[CONTROL, name].pair

    def break_glass(self, now: datetime | None = None) -> KeyPair:
        """Return a new pair of system:masters, which bypasses RBAC, for emergencies; not stored, valid for a day."""
        return issue(_BREAK_GLASS, self._signer(_BREAK_GLASS), now or datetime.now(UTC), _BREAK_GLASS_LIFE).pair

    def report(self, now: datetime | None = None) -> tuple[Row, ...]:
        """Return when each certificate expires, authorities first; days are whole, and negative after expiry.

        A certificate that is being replaced is reported with its old expiry until the new one is saved.
        """
        now = now or datetime.now(UTC)
        certificates = {(CONTROL, name): generations[0] for name, generations in self._authorities.items()}
        certificates |= {**self._leaves, **self._replaced}
        return tuple(
            Row(node, name, issued.end, (issued.end - now).days) for (node, name), issued in certificates.items()
        )

    # Users of the API: a separate authority signs their certificates.

    @property
    def users(self) -> Mapping[str, KeyPair]:
        """The pairs of all users, by name."""
        return {name: each.pair for (place, name), each in self._leaves.items() if place == _USERS}

    @property
    def users_authority(self) -> bytes:
        """The certificate, PEM, of the users' authority; empty if there never was a user."""
        signer = self._leaves.get((CONTROL, _USERS_SIGNER.name))
        return signer.pair.cert if signer else b""

    def with_user(self, name: str, groups: tuple[str, ...], days: int) -> Pki:
        """Return this PKI with a new pair for a user, which replaces an older one.

        Raises PkiError if the older one gives more groups, or is valid for longer: nothing would end it.
        """
        if (old := self._leaves.get((_USERS, name))) and old.end > self._now:
            _, had = names_of(old.certificate)
            if {*had} - {*groups} or old.end > self._now + timedelta(days=days):
                raise PkiError([self._gives_more(name, had, old.end)])
        signer = self._leaves.get((CONTROL, _USERS_SIGNER.name))
        new = {} if signer else {(CONTROL, _USERS_SIGNER.name): self._users_signer()}
        signer = signer or new[CONTROL, _USERS_SIGNER.name]
        new[_USERS, name] = issue(_user(name, groups), signer, self._now, timedelta(days=days))
        return self._derived(replace(self._content, leaves={**self._leaves, **new}), [_files_of(new)])

    def without_user(self, name: str) -> Pki:
        """Return this PKI without a user's pair, and with a new users' authority.

        The other users' pairs are reissued with their old expiry. Raises PkiError if there is no such user.
        """
        if name not in self.users:
            existing = ", ".join(sorted(self.users)) or "nobody"
            raise PkiError(
                [
                    f"{self._state_dir / USERS / name}.crt: is missing (users here: {existing}); if another copy of"
                    " this folder has this user, add the user here first: actions/add_user.py"
                ]
            )
        signer = self._users_signer()
        new = {(CONTROL, _USERS_SIGNER.name): signer}
        for (place, user), each in self._leaves.items():
            if place == _USERS and user != name and each.end > self._now:
                new[place, user] = issue(_user(*names_of(each.certificate)), signer, self._now, each.end - self._now)
        kept = {leaf: each for leaf, each in self._leaves.items() if leaf[0] != _USERS}
        gone = {user for place, user in self._leaves if place == _USERS and (place, user) not in new}
        removed = frozenset(f"{USERS}/{user}.{suffix}" for user in gone for suffix in ("key", "crt", "conf"))
        change = replace(_files_of(new), removed=removed)
        return self._revoking(self.revocations.next(self._now), {**kept, **new}, change)

    def _gives_more(self, name: str, groups: Iterable[str], end: datetime) -> str:
        has = f"groups: {', '.join(groups) or 'none'}; until {end:%Y-%m-%d}"
        remedy = f"revoke it first: actions/revoke.py --data user={name}"
        return f"{self._state_dir / USERS / name}.crt: is still valid, with more groups or days ({has}); {remedy}"

    def _users_signer(self) -> Issued:
        return issue(_USERS_SIGNER, None, self._now, _USERS_SIGNER.life)

    # Revocation.

    @property
    def issued(self) -> bytes:
        """The list of the certificates that nodes got; it has no secret."""
        return revoked.issued_file(self._issued)

    @property
    def issued_before(self) -> str:
        """The digest of the list before this run."""
        return revoked.digest(revoked.issued_file(self.opened._content.issued))

    def knowing(self, issued: frozenset[Certificate]) -> Pki:
        """Return this PKI with certificates in its list that another copy of the state directory issued."""
        listed = revoked.lasting(self._issued | issued)
        if listed == self._issued:
            return self
        content = replace(self._content, leaves=self._leaves, issued=listed)
        change = Change({ISSUED: revoked.issued_file(listed)})
        return Pki(self._state_dir, self._cluster, self._nodes, self._now, content, [change], before=self)

    def without_administrators(self) -> Pki:
        """Return this PKI with all administrators' pairs replaced by pairs of a new group.

        So is the authority of signed client certificates: an administrator may have signed one for that group.
        """
        leaves = {leaf: each for leaf, each in self._leaves.items() if leaf != (CONTROL, _CLIENT_SIGNER.name)}
        return self._revoking(self.revocations.of_administrators(self._now), leaves)

    def without_node(self, name: str, gone: bool = False) -> Pki:
        """Return this PKI with a node's old and new certificates revoked; it gets new keys unless it is `gone`."""
        files = KeyFolder(self._state_dir)
        own = {each for each in self._issued if each.node == name}
        for path in files.certificates(f"nodes/{name}"):
            certificate = _certificate(self._state_dir / path, files.read(path) or b"")
            own.add(Certificate.of(name, Path(path).stem, certificate))
        leaves = {leaf: each for leaf, each in self._leaves.items() if leaf[0] != name}
        removed = {str(path.relative_to(self._state_dir)) for path in (self._state_dir / "nodes" / name).glob("*")}
        # Those that this run has issued to the node have no files yet.
        removed |= {f"{_base(*leaf)}.{suffix}" for leaf in self._leaves if leaf[0] == name for suffix in ("key", "crt")}
        nodes = tuple(node for node in self._nodes if not (gone and node.name == name))
        revocations = self.revocations.of(own, self._now)
        # A master has a pair of the administrators. A node that is gone leaves them to their own revocation: their new
        # group has no rights before the next deploy.
        if not gone and any(each.name == "admin" for each in own):
            revocations = replace(revocations, administrators=revocations.administrators + 1)
        return self._revoking(revocations, leaves, Change(removed=frozenset(removed)), nodes)

    def _revoking(
        self,
        revocations: Revocations,
        leaves: _Leaves | None = None,
        change: Change | None = None,
        nodes: Iterable[Node] | None = None,
    ) -> Pki:
        return self._derived(
            replace(self._content, revocations=revocations, leaves=self._leaves if leaves is None else leaves),
            [Change({REVOCATIONS: revoked.written(revocations)}), *([change] if change else [])],
            nodes,
        )

    # Rotation.

    def rotated(self, roots: Iterable[str], step: Step) -> Pki:
        """Return this PKI after a step of the rotation of these ROOTS; a repeated step changes nothing.

        Retired keys stay in the state directory and are recognised until `retire` runs.
        """
        content, before = self._content, self._files_of_roots(self._content)
        rings = {name: self._stepped(name, content.rings[name], step) for name in _RINGS if name in roots}
        content = replace(content, rings={**content.rings, **rings}, leaves=self._leaves)
        if "encryption" in roots:
            content = replace(content, encryption_keys=_stepped(content.encryption_keys, step, encryption.new))
        change = _without(self._files_of_roots(content), before)
        pki = self._derived(content, [] if step is Step.RETIRE else [change])
        pki._retired = change if step is Step.RETIRE else Change()
        return pki

    def retire(self) -> None:
        """Remove the keys that this rotation retired from the state directory."""
        with locked(self._state_dir):
            put(self._state_dir, self._retired)

    def _stepped(self, root: str, ring: Ring, step: Step) -> Ring:
        def new_generation(number: int) -> Generation:
            return Generation(number, _new_root(root, self._cluster, self._now, number))

        stepped = _stepped(ring, step, new_generation)
        # Nobody trusts an expired authority, so the new one signs at once.
        return _stepped(stepped, Step.SIGN, new_generation) if root in self.ended else stepped

    def _files_of_roots(self, content: _Content) -> Change:
        files = {name: _ring_files(ring) for name, ring in content.rings.items()}
        files["encryption"] = KeyPair(b"", encryption.written(content.encryption_keys))
        return Change(
            private={ROOTS[root][0]: pair.key for root, pair in files.items()},
            public={file: pair.cert for root, pair in files.items() for file in ROOTS[root][1:]},
        )

    def generations(self) -> dict[str, tuple[int, ...]]:
        """Return the numbers of each root's keys: the first one signs or writes, all of them are trusted."""
        rings: dict[str, tuple[Numbered, ...]] = {**self._content.rings, "encryption": self.encryption_keys}
        return {root: tuple(map(_number, ring)) for root, ring in rings.items()}

    @property
    def token_key_id(self) -> str:
        """The key ID in service accounts' tokens."""
        key = load_pem_public_key(self._content.rings[SERVICE_ACCOUNT][0].pair.cert)
        digest = sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
        return urlsafe_b64encode(digest).decode().rstrip("=")

    def _derived(self, content: _Content, changes: Iterable[Change], nodes: Iterable[Node] | None = None) -> Pki:
        nodes = self._nodes if nodes is None else nodes
        content = replace(content, issued=self._issued)
        return Pki(self._state_dir, self._cluster, nodes, self._now, content, changes, before=self)


def _number(key: Numbered) -> int:
    return key.number


# Roots: keys that are created once for a cluster and cannot be recreated.


ENCRYPTION_KEYS, SERVICE_ACCOUNT = "encryption.key", "service-account"
ROOTS = {
    **{name: (f"{name}.key", f"{name}.crt") for name in AUTHORITIES},
    SERVICE_ACCOUNT: ("service-account.key", "service-account.pub"),
    "encryption": (ENCRYPTION_KEYS,),
}
"""The files of each root, the private one first."""
_RINGS = (*AUTHORITIES, SERVICE_ACCOUNT)


def _open_roots(files: KeyFolder, cluster: Cluster, now: datetime) -> tuple[dict[str, KeyPair], Change]:
    """Return the files of all roots, and the change with the new ones."""
    saved = {file: content for names in ROOTS.values() for file in names if (content := files.read(file)) is not None}
    # Roots are created before the first leaf, so a folder with leaves has had all roots.
    had_all = files.has_leaves()
    begun = [root for root, names in ROOTS.items() if had_all or saved.keys() & set(names)]
    if lost := [file for root in begun for file in ROOTS[root] if file not in saved]:
        raise PkiError(
            f"{files.folder / file}: is missing, but the cluster was made with it; restore it from a backup"
            for file in lost
        )
    made = {root: _new_root(root, cluster, now, 1) for root in ROOTS if root not in begun}
    private = {ROOTS[root][0]: pair.key for root, pair in made.items()}
    public = {file: pair.cert for root, pair in made.items() for file in ROOTS[root][1:]}
    read = {root: KeyPair(saved[ROOTS[root][-1]], saved[ROOTS[root][0]]) for root in begun}
    return read | made, Change(private, public)


def _new_root(root: str, cluster: Cluster, now: datetime, number: int) -> KeyPair:
    if root in AUTHORITIES:
        return new_authority(f"kubekeel {root}{'' if number == 1 else f' {number}'}", cluster.name, now).pair
    if root == SERVICE_ACCOUNT:
        key = ec.generate_private_key(ec.SECP256R1())
        return KeyPair(public_pem(key), private_pem(key))
    return KeyPair(cert=b"", key=encryption.written([encryption.new(number)]))


def _ring(state_dir: Path, root: str, files: KeyPair) -> Ring:
    """Return the generations in a root's files: PEM blocks, each after a line with its number; number 1 has no line.

    Raises PkiError if they are damaged.
    """
    certs, keys = _blocks(files.cert), _blocks(files.key)
    private, public = (state_dir / file for file in ROOTS[root])
    if [number for number, _ in certs] != [number for number, _ in keys]:
        raise PkiError([damaged(public, f"does not belong to {private.name}")])
    ring = tuple(Generation(number, KeyPair(cert, key)) for (number, cert), (_, key) in zip(certs, keys, strict=True))
    for each in ring:
        if root == SERVICE_ACCOUNT and public_pem(_private_key(private, each.pair.key)) != each.pair.cert:
            raise PkiError([damaged(public, f"does not belong to {private.name}")])
    return ring


def _ring_files(ring: Ring) -> KeyPair:
    """Return the content of a root's files, as `_ring` reads it."""

    def joined(blocks: Iterable[bytes]) -> bytes:
        numbered = zip(map(_number, ring), blocks, strict=True)
        return b"".join(block if number == 1 else f"key{number}\n".encode() + block for number, block in numbered)

    return KeyPair(joined(each.pair.cert for each in ring), joined(each.pair.key for each in ring))


def _without(change: Change, other: Change) -> Change:
    """Return the files that differ between two changes, from the first; a certificate and its key stay together."""
    different = {root for root, files in ROOTS.items() if _contents(change, files) != _contents(other, files)}
    wanted = {file for root in different for file in ROOTS[root]}
    return Change(
        {name: content for name, content in change.private.items() if name in wanted},
        {name: content for name, content in change.public.items() if name in wanted},
    )


def _contents(change: Change, files: Iterable[str]) -> list[bytes | None]:
    return [change.private.get(file, change.public.get(file)) for file in files]


def generations(content: bytes) -> Mapping[int, bytes]:
    """Return the PEM blocks in a file of a root, except the encryption keys, by generation."""
    return dict(_blocks(content))


def _blocks(content: bytes) -> list[tuple[int, bytes]]:
    """Return the numbered PEM blocks of a file; other content is one block, which the caller finds damaged."""
    found = [(int(block["number"] or 1), block["pem"]) for block in _BLOCK.finditer(content)]
    return found or [(1, content)]


def _check_ends(state_dir: Path, roots: Mapping[str, KeyPair], now: datetime) -> None:
    authorities = {
        name: _issued(state_dir / name, _ring(state_dir, name, roots[name])[0].pair)
        for name in AUTHORITIES
        if name in roots
    }
    ended = [
        f"{state_dir / name}.crt: has expired ({issued.end:%Y-%m-%d}); replace it: actions/rotate.py --data what={name}"
        for name, issued in authorities.items()
        if issued.end <= now
    ]
    if ended:
        raise PkiError(ended)


def _stepped(keys: tuple[Key, ...], step: Step, make: Callable[[int], Key]) -> tuple[Key, ...]:
    """Return the keys after a step; `make` creates the key with a number."""
    if step is Step.TRUST:
        return keys if len(keys) > 1 else (*keys, make(keys[0].number + 1))
    if step is Step.SIGN:
        return tuple(sorted(keys, key=_number, reverse=True))
    return keys[:1]


# Leaves: issued from the profiles, and reissued when they no longer fit.


def _control_profiles(cluster: Cluster, administrators: str) -> list[Profile]:
    """Return the profiles of pairs that do not belong to one node."""
    return [
        _admin(administrators),
        _METRICS_SERVER,
        *([_CLIENT_SIGNER] if cluster.sign_client_certificates else []),
        *([_METRICS] if cluster.metrics else []),
    ]


def _places(files: KeyFolder, cluster: Cluster, nodes: Iterable[Node]) -> list[tuple[str, str]]:
    """Return the leaves that matter to a run, whether they exist or not."""
    control = [row.name for row in (*_control_profiles(cluster, ""), _USERS_SIGNER)]
    users = [Path(name).stem for name in files.certificates(USERS)]
    return [
        *((CONTROL, name) for name in control),
        *((_USERS, name) for name in users),
        *((node.name, row.name) for node in nodes for row in profiles(node, cluster, "")),
    ]


def _base(node: str, name: str) -> str:
    """Return the path of a leaf's files in the state directory, without the suffix."""
    if name in (_CLIENT_SIGNER.name, _USERS_SIGNER.name) and node == CONTROL:
        return name
    return {CONTROL: f"control/{name}", _USERS: f"{USERS}/{name}"}.get(node, f"nodes/{node}/{name}")


def _files_of(leaves: _Leaves) -> Change:
    return Change(
        private={f"{_base(*leaf)}.key": issued.pair.key for leaf, issued in leaves.items()},
        public={f"{_base(*leaf)}.crt": issued.pair.cert for leaf, issued in leaves.items()},
    )


def _load_all(files: KeyFolder, leaves: Iterable[tuple[str, str]]) -> _Leaves:
    loaded = {}
    faults: list[str] = []
    for leaf in leaves:
        path = _base(*leaf)
        cert, key = files.read(f"{path}.crt"), files.read(f"{path}.key")
        if cert is not None and key is not None:
            try:
                loaded[leaf] = _issued(files.folder / path, KeyPair(cert, key))
            except PkiError as error:
                faults += error.faults
        elif cert is not None or key is not None:
            present, absent = ("key", "crt") if cert is None else ("crt", "key")
            place = files.folder / path
            faults.append(
                f"{place}.{absent}: is missing; restore it, or remove {place.name}.{present} to get a new pair"
            )
    if faults:
        raise PkiError(faults)
    return loaded


def _without_former_users(leaves: _Leaves) -> _Leaves:
    """Return the leaves without users' pairs of an earlier users' authority: a backup may bring back a revoked one."""
    signer = leaves.get((CONTROL, _USERS_SIGNER.name))
    return {leaf: each for leaf, each in leaves.items() if leaf[0] != _USERS or (signer and signed_by(each, signer))}


def _issued(base: Path, pair: KeyPair) -> Issued:
    """Parse a pair; `base` is its path without the suffix. Raises PkiError if it is damaged."""
    cert_path, key_path = Path(f"{base}.crt"), Path(f"{base}.key")
    key = _private_key(key_path, pair.key)
    certificate = _certificate(cert_path, pair.cert)
    if certificate.public_key() != key.public_key():
        raise PkiError([damaged(cert_path, f"does not belong to {key_path.name}")])
    return Issued(pair, certificate, key)


def _certificate(path: Path, pem: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        certificate.public_key()
    except ValueError as error:
        raise PkiError([damaged(path, "is not a certificate")]) from error
    return certificate


def _private_key(path: Path, pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise PkiError([damaged(path, "is not a private key")]) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError([damaged(path, "is not a key of an elliptic curve")])
    return key
