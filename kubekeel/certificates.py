"""X.509 and PEM: issue certificates from profiles, and read them back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=365)
_CLOCK_SKEW = timedelta(minutes=5)

SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)


@dataclass(frozen=True)
class KeyPair:
    """A certificate, or for the service accounts a public key, and its private key; all PEM."""

    cert: bytes
    key: bytes

    def __repr__(self) -> str:
        return "KeyPair(...)"


@dataclass(frozen=True)
class Issued:
    """A stored pair with its parsed certificate and key."""

    pair: KeyPair
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def end(self) -> datetime:
        return self.certificate.not_valid_after_utc


@dataclass(frozen=True)
class Profile:
    """The content of a certificate; `names` are DNS names and addresses.

    A profile that `signs` is a separate authority for certificates with the same usages. It is self-signed: clients may
    send intermediates, so below another authority it would be trusted as long as that authority is trusted.
    """

    name: str
    authority: str
    common_name: str
    organizations: tuple[str, ...] = ()
    usages: tuple[x509.ObjectIdentifier, ...] = CLIENT
    names: tuple[str, ...] = ()
    signs: bool = False

    @property
    def life(self) -> timedelta:
        return AUTHORITY_LIFE if self.signs else LEAF_LIFE


def issue(profile: Profile, signer: Issued | None, now: datetime, life: timedelta) -> Issued:
    """Return a new pair, which does not outlive its signer; without a signer it is self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(profile.common_name, profile.organizations)
    end = min(now + life, signer.end) if signer else now + life
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
    return _signed(builder, signing_key, key)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return a certificate's SHA-256, in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def signed_by(issued: Issued, signer: Issued) -> bool:
    """Return whether `signer` issued this pair."""
    try:
        issued.certificate.verify_directly_issued_by(signer.certificate)
    except (ValueError, InvalidSignature):
        return False
    return True


def fits(issued: Issued, profile: Profile, signer: Issued | None, renew_before: datetime) -> bool:
    """Return whether a pair matches its profile, is signed by `signer` or itself, and lasts until `renew_before`."""
    certificate = issued.certificate
    signer = signer or issued
    if not signed_by(issued, signer):
        return False
    # No leaf outlives its authority: near the authority's end, a new leaf would not last longer.
    enough = min(renew_before, signer.end)
    extensions = {extension.oid: extension.value for extension in certificate.extensions}
    named = x509.SubjectAlternativeName.oid
    return (
        issued.end >= enough
        and certificate.subject == _subject(profile.common_name, profile.organizations)
        and extensions.get(x509.ExtendedKeyUsage.oid) == x509.ExtendedKeyUsage(profile.usages)
        and extensions.get(named) == (_alternative_names(profile.names) if profile.names else None)
    )


def new_authority(name: str, cluster: str, now: datetime) -> Issued:
    """Return a new authority for certificates of any usage, with the cluster's name in its subject."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name, (cluster,))
    builder = (
        _builder(subject, key, now, now + AUTHORITY_LIFE)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )
    return _signed(builder, key, key)


def revocation_list(signer: Issued, serials: Iterable[int], number: int, since: datetime) -> bytes:
    """Return a certificate revocation list in DER, deterministically: equal arguments give equal bytes."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(since)
        # A revocation replaces the list, and etcd does not look at its dates.
        .next_update(since + AUTHORITY_LIFE)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(signer.key, hashes.SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def _signed(
    builder: x509.CertificateBuilder, signing_key: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePrivateKey
) -> Issued:
    certificate = builder.sign(signing_key, hashes.SHA256())
    return Issued(KeyPair(certificate.public_bytes(Encoding.PEM), private_pem(key)), certificate, key)


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


def _subject(common_name: str, organizations: Iterable[str]) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def names_of(certificate: x509.Certificate) -> tuple[str, tuple[str, ...]]:
    """Return the common name and the organizations in a certificate's subject."""
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return "".join(str(name.value) for name in common), tuple(str(group.value) for group in groups)


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


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
