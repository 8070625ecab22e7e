"""The cluster's keys and certificates, made and kept on the control machine.

Three authorities sign what etcd, Kubernetes and its aggregated APIs know each other by; their keys never
leave the state directory. What is there is used again; what no longer fits is reissued. Where the cluster is to
sign certificates itself, it gets an authority for that which only API servers trust, and only for clients.

What is new is in memory until it is saved: a run that only looks, or is refused, leaves the state directory as it was.
"""

from __future__ import annotations

import os
import re
import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from filelock import FileLock

from kubekeel.cluster import Cluster, Node
from kubekeel.identity import Keys, fingerprints, key_digest

AUTHORITIES = ("ca", "etcd-ca", "front-proxy-ca")
CONTROL = "control machine"
"""Stands where a node's name would; no node can be called this."""

_AUTHORITY_LIFE = timedelta(days=3650)
_LEAF_LIFE = timedelta(days=365)
_BREAK_GLASS_LIFE = timedelta(days=1)
_CLOCK_SKEW = timedelta(minutes=5)

_WRITERS = ".lock"
_ENCRYPTION_KEY = re.compile(r"(key[1-9][0-9]*) (\S+)")

_SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
_CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)


class PkiError(Exception):
    """Everything that is wrong with the state directory, a line each."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


@dataclass(frozen=True)
class KeyPair:
    """A certificate, or for the service accounts a public key, and its private key; all PEM."""

    cert: bytes
    key: bytes

    def __repr__(self) -> str:
        return "KeyPair(...)"


@dataclass(frozen=True)
class EncryptionKey:
    """A key of what the API servers encrypt in etcd, where its name stands before each value; `secret` is base64."""

    name: str
    secret: str = field(repr=False)

    @property
    def number(self) -> int:
        """Newer keys have higher ones."""
        return int(self.name.removeprefix("key"))


EncryptionKeys = tuple[EncryptionKey, ...]
"""The first one writes, all of them read."""


@dataclass(frozen=True)
class Row:
    """When one certificate ends; `node` is CONTROL for those of the control machine."""

    node: str
    name: str
    not_after: datetime
    days_left: int


@dataclass(frozen=True)
class Profile:
    """What a certificate says: a row of the table in `profiles`; `names` are DNS names and addresses.

    One that `signs` is an authority of its own, good for certificates of its own usages. It is self-signed: clients
    may send intermediates, so certificates below another authority would be trusted as long as that one.
    """

    name: str
    authority: str
    common_name: str
    organization: str | None = None
    usages: tuple[x509.ObjectIdentifier, ...] = _CLIENT
    names: tuple[str, ...] = ()
    signs: bool = False

    @property
    def life(self) -> timedelta:
        return _AUTHORITY_LIFE if self.signs else _LEAF_LIFE


_ADMIN = Profile("admin", "ca", "kubernetes-admin", "kubekeel:cluster-admins")
_CLIENT_SIGNER = Profile("signing-ca", "signing-ca", "kubekeel signing-ca", signs=True)
_BREAK_GLASS = Profile("break-glass", "ca", "kubekeel-break-glass", "system:masters")


def profiles(node: Node, cluster: Cluster) -> tuple[Profile, ...]:
    """The certificates `node` needs for its roles."""
    own = (node.name, node.address)
    local = ("127.0.0.1", "localhost")
    identity = partial(Profile, common_name=f"system:node:{node.name}", organization="system:nodes")
    table = [
        Profile("flannel-etcd-client", "etcd-ca", "flannel"),
        identity("kubelet-client", "ca"),
        identity("kubelet-server", "ca", usages=_SERVER, names=own),
        Profile("kube-proxy", "ca", "system:kube-proxy"),
    ]
    if "etcd" in node.roles:
        table += [
            Profile("etcd-server", "etcd-ca", node.name, usages=_SERVER, names=(*own, *local)),
            # The name that members ask each other for, so that no other certificate of the authority is a member's.
            Profile("etcd-peer", "etcd-ca", "etcd-peer", usages=(*_SERVER, *_CLIENT), names=(*own, *local)),
            Profile("etcd-root", "etcd-ca", "root"),
        ]
    if "masters" in node.roles:
        service = "kubernetes.default.svc"
        api = ("kubernetes", "kubernetes.default", service, f"{service}.{cluster.cluster_domain}")
        names = (*api, cluster.api_service_address, *local, *own, *cluster.extra_api_names)
        table += [
            Profile("kube-apiserver", "ca", "kube-apiserver", usages=_SERVER, names=names),
            Profile("kube-apiserver-etcd-client", "etcd-ca", "kube-apiserver"),
            Profile("kube-apiserver-kubelet-client", "ca", "kube-apiserver-kubelet-client"),
            Profile("front-proxy-client", "front-proxy-ca", "front-proxy-client"),
            Profile("kube-controller-manager", "ca", "system:kube-controller-manager"),
            Profile("kube-scheduler", "ca", "system:kube-scheduler"),
            _ADMIN,
        ]
    return tuple(table)


@dataclass(frozen=True)
class _Issued:
    """A pair as it is kept, and what was read out of it."""

    pair: KeyPair
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


_Leaves = dict[tuple[str, str], _Issued]
"""By node, or CONTROL, and name of their profile."""


@dataclass(frozen=True)
class _New:
    """Files that are put in place together, by their names in the state directory."""

    private: Mapping[str, bytes]
    public: Mapping[str, bytes]


class Pki:
    """Keys and certificates of one cluster: those in its state directory, and new ones until they are saved there."""

    def __init__(
        self,
        state_dir: Path,
        authorities: Mapping[str, _Issued],
        leaves: _Leaves,
        service_account_key: KeyPair,
        encryption_keys: EncryptionKeys,
        replaced: _Leaves,
        unsaved: Iterable[_New],
    ) -> None:
        self._state_dir = state_dir
        self._authorities = authorities
        self._leaves = leaves
        self._replaced = replaced
        self.service_account_key = service_account_key
        self.encryption_keys = encryption_keys
        self._unsaved = tuple(new for new in unsaved if new.private)

    @classmethod
    def open(
        cls,
        state_dir: Path,
        cluster: Cluster,
        now: datetime | None = None,
        nodes: Iterable[Node] | None = None,
        over: Mapping[str, bytes] | None = None,
    ) -> Pki:
        """The PKI of `cluster` in `state_dir`, with all that is missing, unfit or about to expire made anew.

        Nothing is written: `save` does that. Where only some `nodes` matter, the certificates of all others are neither
        read nor made. `over` has the contents of files, by name, that are about to replace those of `state_dir`.
        `now` is an aware datetime. Raises PkiError for what is damaged: nothing of that is made anew.
        """
        now = now or datetime.now(UTC)
        files = _Files(state_dir, over or {})
        with _unchanged(state_dir):
            roots, new_roots = _open_roots(files, cluster, now)
            authorities = _authorities(state_dir, roots, now)
            there, new = _open_leaves(files, cluster, cluster.nodes if nodes is None else nodes, authorities, now)
        return cls(
            state_dir,
            authorities,
            there | new,
            _service_account_key(state_dir, roots["service-account"]),
            _encryption_keys(state_dir / ENCRYPTION_KEYS, roots["encryption"].key),
            replaced={leaf: issued for leaf, issued in there.items() if leaf in new},
            # Whoever has leaves had all roots.
            unsaved=(new_roots, _files_of(new)),
        )

    @property
    def saved(self) -> bool:
        """Whether all of it is in the state directory."""
        return not self._unsaved

    def save(self) -> None:
        """Put what is new into the state directory; cut short, it leaves whole pairs to the next run, old or new.

        Raises PkiError where another run has made a cluster's keys there meanwhile.
        """
        self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._state_dir.chmod(0o700)
        with locked(self._state_dir):
            _finish_interrupted_writes(self._state_dir)
            if others := [name for name in self._missing() if (self._state_dir / name).exists()]:
                raise PkiError(
                    f"{self._state_dir / name}: was made by another run meanwhile; run again" for name in others
                )
            for new in self._unsaved:
                _put(self._state_dir, new)
        self._replaced, self._unsaved = {}, ()

    def known(self) -> Keys:
        """What hosts of this cluster are recognised by."""
        return Keys(
            self._state_dir,
            missing=self._missing(),
            authorities={name: fingerprints(issued.pair.cert) for name, issued in self._authorities.items()},
            encryption_keys={key.name: key_digest(key.secret) for key in self.encryption_keys},
        )

    def _missing(self) -> tuple[str, ...]:
        """The private files of the roots that the state directory lacks."""
        roots = {files[0] for files in ROOTS.values()}
        return tuple(name for new in self._unsaved for name in new.private if name in roots)

    def authority(self, name: str) -> bytes:
        """The certificate, PEM, of one of AUTHORITIES."""
        return self._authorities[name].pair.cert

    def leaf(self, node: str, name: str) -> KeyPair:
        """The pair of `node` that `profiles` calls `name`."""
        return self._leaves[node, name].pair

    def control(self, name: str) -> KeyPair:
        """A pair that is no single node's: "admin", or "signing-ca" where the cluster signs clients' certificates."""
        return self._leaves[CONTROL, name].pair

    def break_glass(self, now: datetime | None = None) -> KeyPair:
        """A new pair of system:masters, kept nowhere and valid for a day: past all RBAC, for emergencies."""
        signer = self._authorities[_BREAK_GLASS.authority]
        return _issue(_BREAK_GLASS, signer, now or datetime.now(UTC), _BREAK_GLASS_LIFE).pair

    def report(self, now: datetime | None = None) -> tuple[Row, ...]:
        """When each certificate ends, the authorities' first; days are whole and negative after the end.

        Of one that is to be replaced it is the old one's end, until the new one is saved.
        """
        now = now or datetime.now(UTC)
        certificates = {(CONTROL, name): issued for name, issued in self._authorities.items()}
        certificates |= {**self._leaves, **self._replaced}
        return tuple(
            Row(node, name, end, (end - now).days)
            for (node, name), issued in certificates.items()
            for end in [issued.certificate.not_valid_after_utc]
        )


# Roots: what a cluster is made of once and can never get again.


ENCRYPTION_KEYS = "encryption.key"
ROOTS = {
    **{name: (f"{name}.key", f"{name}.crt") for name in AUTHORITIES},
    "service-account": ("service-account.key", "service-account.pub"),
    "encryption": (ENCRYPTION_KEYS,),
}
"""The files of each root, the private one first."""


def _open_roots(files: _Files, cluster: Cluster, now: datetime) -> tuple[dict[str, KeyPair], _New]:
    """All roots, and the files of those that had to be made."""
    there = {file: content for names in ROOTS.values() for file in names if (content := files.read(file)) is not None}
    # Roots are made before the first leaf, so whoever has leaves had them all.
    all_were = files.has_leaves()
    begun = [root for root, names in ROOTS.items() if all_were or there.keys() & set(names)]
    if lost := [file for root in begun for file in ROOTS[root] if file not in there]:
        raise PkiError(
            f"{files.folder / file}: is missing, though the cluster was made with it; restore it from a backup"
            for file in lost
        )
    made = {root: _new_root(root, cluster, now) for root in ROOTS if root not in begun}
    private = {ROOTS[root][0]: pair.key for root, pair in made.items()}
    public = {file: pair.cert for root, pair in made.items() for file in ROOTS[root][1:]}
    read = {root: KeyPair(there[ROOTS[root][-1]], there[ROOTS[root][0]]) for root in begun}
    return read | made, _New(private, public)


def _new_root(root: str, cluster: Cluster, now: datetime) -> KeyPair:
    if root in AUTHORITIES:
        return _new_authority(root, cluster, now)
    if root == "service-account":
        return _new_service_account_key()
    return KeyPair(cert=b"", key=_encryption_key_file([_new_encryption_key(1)]))


def _new_authority(name: str, cluster: Cluster, now: datetime) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"kubekeel {name}", cluster.name)
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        _builder(subject, key, now, now + _AUTHORITY_LIFE)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(Encoding.PEM), _private_pem(key))


def _new_service_account_key() -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    return KeyPair(_public_pem(key), _private_pem(key))


def _authorities(state_dir: Path, roots: Mapping[str, KeyPair], now: datetime) -> dict[str, _Issued]:
    authorities = {name: _issued(state_dir / name, roots[name]) for name in AUTHORITIES}
    ended = [
        f"{state_dir / name}.crt: has expired ({issued.certificate.not_valid_after_utc:%Y-%m-%d}); "
        f"move {state_dir} away and deploy again, with new keys for the whole cluster"
        for name, issued in authorities.items()
        if issued.certificate.not_valid_after_utc <= now
    ]
    if ended:
        raise PkiError(ended)
    return authorities


def _service_account_key(state_dir: Path, pair: KeyPair) -> KeyPair:
    private, public = (state_dir / file for file in ROOTS["service-account"])
    if _public_pem(_private_key(private, pair.key)) != pair.cert:
        raise PkiError([_damaged(public, f"does not belong to {private.name}")])
    return pair


# The encryption keys: a root of which a cluster may get another.


def rotate_encryption_keys(state_dir: Path, step: Callable[[EncryptionKeys], EncryptionKeys]) -> EncryptionKeys:
    """Take a step of a rotation, and return the keys after it; a step that was taken before changes nothing.

    The steps are `with_new_key`, `newest_first` and `first_alone`. Before each but the first, every API server must
    know the keys of the step before it; before the last, everything must be encrypted with the first key.
    """
    path = state_dir / ENCRYPTION_KEYS
    with locked(state_dir):
        _finish_interrupted_writes(state_dir)
        keys = _encryption_keys(path, path.read_bytes())
        stepped = step(keys)
        if stepped != keys:
            _put(state_dir, _New({ENCRYPTION_KEYS: _encryption_key_file(stepped)}, {}))
        return stepped


def with_new_key(keys: EncryptionKeys) -> EncryptionKeys:
    """The keys with a new one that only reads, unless a rotation is under way."""
    return keys if len(keys) > 1 else (*keys, _new_encryption_key(keys[0].number + 1))


def newest_first(keys: EncryptionKeys) -> EncryptionKeys:
    return tuple(sorted(keys, key=lambda key: key.number, reverse=True))


def first_alone(keys: EncryptionKeys) -> EncryptionKeys:
    return keys[:1]


def with_all_keys(files: Iterable[tuple[Path, bytes]]) -> bytes:
    """The file of the encryption keys that several such files hold, by their paths, the newest first.

    Raises PkiError where one is damaged, or two hold different keys of one name.
    """
    keys: dict[str, EncryptionKey] = {}
    first: dict[str, Path] = {}
    for path, content in files:
        for key in _encryption_keys(path, content):
            if keys.setdefault(key.name, key) != key:
                raise PkiError([f"{path}: has another {key.name} than {first[key.name]}; find out which one is used"])
            first.setdefault(key.name, path)
    return _encryption_key_file(newest_first(tuple(keys.values())))


def _new_encryption_key(number: int) -> EncryptionKey:
    return EncryptionKey(f"key{number}", b64encode(secrets.token_bytes(32)).decode())


def _encryption_key_file(keys: Iterable[EncryptionKey]) -> bytes:
    return "".join(f"{key.name} {key.secret}\n" for key in keys).encode()


def _encryption_keys(path: Path, content: bytes) -> EncryptionKeys:
    lines = [_ENCRYPTION_KEY.fullmatch(line) for line in content.decode(errors="replace").splitlines()]
    keys = tuple(EncryptionKey(*line.groups()) for line in lines if line and _is_encryption_secret(line[2]))
    if not lines or len(keys) < len(lines):
        raise PkiError([_damaged(path, "is not a list of key names, each with the base64 of 32 bytes")])
    return keys


def _is_encryption_secret(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) == 32
    except Base64Error:
        return False


# Leaves: issued from the table, and anew when they no longer fit it.


def _open_leaves(
    files: _Files, cluster: Cluster, nodes: Iterable[Node], authorities: Mapping[str, _Issued], now: datetime
) -> tuple[_Leaves, _Leaves]:
    """The leaves of the nodes and of the control machine that are there, and those that had to be issued."""
    shared = [_ADMIN, *([_CLIENT_SIGNER] if cluster.sign_client_certificates else [])]
    wanted = {(CONTROL, row.name): row for row in shared}
    wanted |= {(node.name, row.name): row for node in nodes for row in profiles(node, cluster)}
    renew_before = now + timedelta(days=cluster.renew_before_days)

    there = _load_all(files, wanted)
    return there, {
        leaf: _issue(profile, authorities.get(profile.authority), now, profile.life)
        for leaf, profile in wanted.items()
        if leaf not in there or not _fits(there[leaf], profile, authorities.get(profile.authority), renew_before)
    }


def _base(node: str, name: str) -> str:
    """The place of a leaf's files in the state directory, without the suffix."""
    if name == _CLIENT_SIGNER.name:
        return name
    return f"control/{name}" if node == CONTROL else f"nodes/{node}/{name}"


def _files_of(leaves: _Leaves) -> _New:
    return _New(
        private={f"{_base(*leaf)}.key": issued.pair.key for leaf, issued in leaves.items()},
        public={f"{_base(*leaf)}.crt": issued.pair.cert for leaf, issued in leaves.items()},
    )


def _load_all(files: _Files, leaves: Iterable[tuple[str, str]]) -> _Leaves:
    there = {}
    faults: list[str] = []
    for leaf in leaves:
        path = _base(*leaf)
        cert, key = files.read(f"{path}.crt"), files.read(f"{path}.key")
        if cert is not None and key is not None:
            try:
                there[leaf] = _issued(files.folder / path, KeyPair(cert, key))
            except PkiError as error:
                faults += error.faults
        elif cert is not None or key is not None:
            absent = files.folder / f"{path}.{'crt' if cert is None else 'key'}"
            faults.append(f"{absent}: is missing; restore it, or remove its other half for a new pair")
    if faults:
        raise PkiError(faults)
    return there


def _fits(issued: _Issued, profile: Profile, signer: _Issued | None, renew_before: datetime) -> bool:
    certificate = issued.certificate
    signer = signer or issued
    try:
        certificate.verify_directly_issued_by(signer.certificate)
    except (ValueError, InvalidSignature):
        return False
    # No leaf outlives its authority: near the end of that, a new one would be no better.
    enough = min(renew_before, signer.certificate.not_valid_after_utc)
    said = {extension.oid: extension.value for extension in certificate.extensions}
    named = x509.SubjectAlternativeName.oid
    return (
        certificate.not_valid_after_utc >= enough
        and certificate.subject == _subject(profile.common_name, profile.organization)
        and said.get(x509.ExtendedKeyUsage.oid) == x509.ExtendedKeyUsage(profile.usages)
        and said.get(named) == (_alternative_names(profile.names) if profile.names else None)
    )


def _issue(profile: Profile, signer: _Issued | None, now: datetime, life: timedelta) -> _Issued:
    """A new pair; without a signer it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(profile.common_name, profile.organization)
    end = min(now + life, signer.certificate.not_valid_after_utc) if signer else now + life
    signing_key = signer.key if signer else key
    builder = (
        _builder(subject, key, now, end)
        .issuer_name(signer.certificate.subject if signer else subject)
        .add_extension(x509.BasicConstraints(profile.signs, 0 if profile.signs else None), critical=True)
        .add_extension(_key_usage(digital_signature=not profile.signs, key_cert_sign=profile.signs), critical=True)
        .add_extension(x509.ExtendedKeyUsage(profile.usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
    )
    if profile.names:
        builder = builder.add_extension(_alternative_names(profile.names), critical=False)
    certificate = builder.sign(signing_key, hashes.SHA256())
    return _Issued(KeyPair(certificate.public_bytes(Encoding.PEM), _private_pem(key)), certificate, key)


# X.509 and PEM.


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _subject(common_name: str, organization: str | None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(names: Iterable[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(name) for name in dict.fromkeys(names)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


# Files.


def _damaged(path: Path, problem: str) -> str:
    return f"{path}: {problem}; restore it from a backup, or for a node's certificate remove it and its key"


def _issued(base: Path, pair: KeyPair) -> _Issued:
    """What a pair says; `base` is its place without the suffix. Raises PkiError where it is damaged."""
    cert_path, key_path = Path(f"{base}.crt"), Path(f"{base}.key")
    key = _private_key(key_path, pair.key)
    try:
        certificate = x509.load_pem_x509_certificate(pair.cert)
        public = certificate.public_key()
    except ValueError as error:
        raise PkiError([_damaged(cert_path, "is not a certificate")]) from error
    if public != key.public_key():
        raise PkiError([_damaged(cert_path, f"does not belong to {key_path.name}")])
    return _Issued(pair, certificate, key)


def _private_key(path: Path, pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise PkiError([_damaged(path, "is not a private key")]) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError([_damaged(path, "is not a key of an elliptic curve")])
    return key


@dataclass(frozen=True)
class _Files:
    """The state directory as it is once interrupted writes are finished, with the contents `over` in the place of its.

    Files are named relative to it.
    """

    folder: Path
    over: Mapping[str, bytes]

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is no such file."""
        if name in self.over:
            return self.over[name]
        path = _finished(self.folder / name)
        return path.read_bytes() if path.exists() else None

    def has_leaves(self) -> bool:
        issued = (*self.folder.glob("nodes/*/*.crt"), *self.folder.glob("control/*.crt"))
        return bool(issued) or any(name.startswith(("nodes/", "control/")) for name in self.over)


def _finished(path: Path) -> Path:
    """Where the content is that `path` has once interrupted writes are finished."""
    waits = path.suffix in (".crt", ".pub") and _beside(path).exists()
    return _beside(path) if waits and not _beside(path.with_suffix(".key")).exists() else path


def _put(state_dir: Path, new: _New) -> None:
    """Put files in place; cut off anywhere, `_finish_interrupted_writes` makes whole pairs of them."""
    private = {state_dir / name: content for name, content in new.private.items()}
    public = {state_dir / name: content for name, content in new.public.items()}
    for folder in {path.parent for path in private}:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, content in private.items():
        _write_beside(path, content, 0o600)
    for path, content in public.items():
        _write_beside(path, content, 0o644)
    _rename(private)
    _rename(public)


def _finish_interrupted_writes(state_dir: Path) -> None:
    keys = set(state_dir.rglob("*.key.new"))
    for path in [*state_dir.rglob("*.crt.new"), *state_dir.rglob("*.pub.new")]:
        final = path.with_suffix("")
        # As long as its key waits too, the old pair is still in place.
        path.unlink() if final.with_suffix(".key.new") in keys else path.replace(final)
    for path in keys:
        path.unlink()


def read(state_dir: Path, name: str) -> bytes | None:
    """A file of the state directory as it is once interrupted writes are finished; None where there is no such file."""
    return _Files(state_dir, {}).read(name)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file of the state directory with `content`, for its owner alone; a cut leaves the old one."""
    with locked(path.parent):
        if path.is_file() and path.read_bytes() == content:
            return
        _beside(path).unlink(missing_ok=True)
        _write_beside(path, content, 0o600)
        _rename([path])


def locked(state_dir: Path) -> FileLock:
    """While this run alone writes into the state directory."""
    return FileLock(state_dir / _WRITERS, mode=0o600)


def _unchanged(state_dir: Path) -> AbstractContextManager[object]:
    """While nobody writes; where nobody ever has, there is no lock, and none is made."""
    return locked(state_dir) if (state_dir / _WRITERS).exists() else nullcontext()


def _beside(path: Path) -> Path:
    return Path(f"{path}.new")


def _write_beside(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(_beside(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _rename(paths: Iterable[Path]) -> None:
    for path in paths:
        _beside(path).replace(path)
    for folder in {path.parent for path in paths}:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)
