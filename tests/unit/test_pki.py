"""Keys and certificates: their fields, who trusts them, and that none is ever lost or shown."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from filelock import FileLock

from kubekeel.certificates import KeyPair
from kubekeel.identity import public_key_digests
from kubekeel.keyfolder import PkiError
from kubekeel.pki import (
    AUTHORITIES,
    CONTROL,
    SERVICE_ACCOUNT,
    Pki,
    Step,
    profiles,
)
from kubekeel.revocations import ISSUED, Certificate, issued
from tests.hosts import cluster
from tests.unit.keys import CLUSTER, EXTRA, certificate_of, rotated, saved

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH

MASTER, MINION = CLUSTER.nodes
ETCD_NAMES = ("m", "192.0.2.1", "127.0.0.1", "localhost")
API_NAMES = (
    *("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.test"),
    *("10.96.0.1", "127.0.0.1", "localhost", "m", "192.0.2.1", *EXTRA),
)

# node, name: authority, common name, organization, usages, names
TABLE = {
    ("m", "etcd-server"): ("etcd-ca", "m", None, [SERVER], ETCD_NAMES),
    ("m", "etcd-peer"): ("etcd-ca", "etcd-peer", None, [SERVER, CLIENT], ETCD_NAMES),
    ("m", "etcd-root"): ("etcd-ca", "root", None, [CLIENT], ()),
    ("m", "flannel-etcd-client"): ("etcd-ca", "flannel:m", None, [CLIENT], ()),
    ("m", "kubelet-client"): ("ca", "system:node:m", "system:nodes", [CLIENT], ()),
    ("m", "kubelet-server"): ("ca", "system:node:m", "system:nodes", [SERVER], ("m", "192.0.2.1")),
    ("m", "kube-proxy"): ("ca", "system:kube-proxy", None, [CLIENT], ()),
    ("m", "kube-apiserver"): ("ca", "kube-apiserver", None, [SERVER], API_NAMES),
    ("m", "kube-apiserver-etcd-client"): ("etcd-ca", "kube-apiserver", None, [CLIENT], ()),
    ("m", "kube-apiserver-kubelet-client"): ("ca", "kube-apiserver-kubelet-client", None, [CLIENT], ()),
    ("m", "front-proxy-client"): ("front-proxy-ca", "front-proxy-client", None, [CLIENT], ()),
    ("m", "kube-controller-manager"): ("ca", "system:kube-controller-manager", None, [CLIENT], ()),
    ("m", "kube-scheduler"): ("ca", "system:kube-scheduler", None, [CLIENT], ()),
    ("m", "admin"): ("ca", "kubernetes-admin", "kubekeel:cluster-admins", [CLIENT], ()),
    ("w", "flannel-etcd-client"): ("etcd-ca", "flannel:w", None, [CLIENT], ()),
    ("w", "kubelet-client"): ("ca", "system:node:w", "system:nodes", [CLIENT], ()),
    ("w", "kubelet-server"): ("ca", "system:node:w", "system:nodes", [SERVER], ("w", "192.0.2.2")),
    ("w", "kube-proxy"): ("ca", "system:kube-proxy", None, [CLIENT], ()),
    (CONTROL, "metrics-server"): ("ca", "metrics-server", None, [SERVER], ("metrics-server.kube-system.svc",)),
    (CONTROL, "admin"): ("ca", "kubernetes-admin", "kubekeel:cluster-admins", [CLIENT], ()),
}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "pki"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return saved(tmp_path_factory.mktemp("shared") / "pki", CLUSTER)


def pair_of(pki: Pki, node: str, name: str) -> KeyPair:
    return pki.control(name) if node == CONTROL else pki.leaf(node, name)


def attributes(name: x509.Name) -> dict[x509.ObjectIdentifier, str | bytes]:
    return {attribute.oid: attribute.value for attribute in name}


def names_in(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in found)


def files(state: Path) -> dict[str, bytes]:
    """Return the state directory's files, without the list of certificates, which only repeats them."""
    paths = (path for path in state.rglob("*") if path.is_file() and path.name != ISSUED)
    return {str(path.relative_to(state)): path.read_bytes() for path in paths}


# Fields of certificates


def test_the_table_lists_every_certificate() -> None:
    made = {(node.name, profile.name) for node in CLUSTER.nodes for profile in profiles(node, CLUSTER, "admins")}
    assert made | {(CONTROL, "admin"), (CONTROL, "metrics-server")} == TABLE.keys()


@pytest.mark.parametrize(("node", "name"), TABLE)
def test_a_leaf_has_the_fields_of_the_table_and_no_more(pki: Pki, node: str, name: str) -> None:
    authority, common_name, organization, usages, names = TABLE[node, name]
    certificate = certificate_of(pair_of(pki, node, name).cert)
    extensions = certificate.extensions
    expected = {NameOID.COMMON_NAME: common_name}
    if organization:
        expected[NameOID.ORGANIZATION_NAME] = organization
    assert attributes(certificate.subject) == expected
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == usages
    assert names_in(certificate) == names
    certificate.verify_directly_issued_by(certificate_of(pki.authority(authority)))

    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, False)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not usage.value.crl_sign
    assert not usage.value.key_encipherment
    issuer = certificate_of(pki.authority(authority)).extensions
    assert (
        extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        == issuer.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    )
    assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


@pytest.mark.parametrize("name", AUTHORITIES)
def test_an_authority_signs_certificates_and_nothing_else(pki: Pki, name: str) -> None:
    extensions = certificate_of(pki.authority(name)).extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature


def test_every_certificate_has_its_own_p_256_key_and_serial_number(pki: Pki) -> None:
    pairs = [pair_of(pki, *leaf) for leaf in TABLE]
    keys = [load_pem_private_key(pair.key, None) for pair in pairs]
    assert all(isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1" for key in keys)
    assert len({pair.key for pair in pairs}) == len(pairs)
    assert len({certificate_of(pair.cert).serial_number for pair in pairs}) == len(pairs)


def test_leaves_are_valid_for_a_year_and_authorities_for_ten(state: Path) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    pki = saved(state, CLUSTER, now)
    leaf = certificate_of(pki.leaf("m", "kube-apiserver").cert)
    assert leaf.not_valid_before_utc == now - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == now + timedelta(days=365)
    assert certificate_of(pki.authority("ca")).not_valid_after_utc == now + timedelta(days=3650)


def test_a_break_glass_certificate_lasts_a_day_and_is_never_stored(state: Path) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    pki = saved(state, CLUSTER, now)
    before = files(state)
    first, second = pki.break_glass(now), pki.break_glass(now)
    assert first != second
    assert files(state) == before
    certificate = certificate_of(first.cert)
    assert certificate.not_valid_after_utc == now + timedelta(days=1)
    assert attributes(certificate.subject) == {
        NameOID.COMMON_NAME: "kubekeel-break-glass",
        NameOID.ORGANIZATION_NAME: "system:masters",
    }
    certificate.verify_directly_issued_by(certificate_of(pki.authority("ca")))


def test_no_stored_certificate_has_the_group_system_masters(pki: Pki) -> None:
    for leaf in TABLE:
        subject = attributes(certificate_of(pair_of(pki, *leaf).cert).subject)
        assert subject.get(NameOID.ORGANIZATION_NAME) != "system:masters"


def test_the_service_account_key_is_a_pair_and_the_encryption_key_32_bytes(pki: Pki) -> None:
    private = load_pem_private_key(pki.service_account_key.key, None)
    assert private.public_key() == load_pem_public_key(pki.service_account_key.cert)
    [key] = pki.encryption_keys
    assert key.name == "key1"
    assert len(b64decode(key.secret, validate=True)) == 32


def test_a_pair_does_not_show_its_key(pki: Pki) -> None:
    assert "PRIVATE" not in repr(pki.leaf("m", "admin"))
    assert "PRIVATE" not in f"{pki.service_account_key}"
    assert pki.encryption_keys[0].secret not in repr(pki.encryption_keys)


# Trust: real handshakes over a socket


def context(purpose: int, pair: KeyPair | None, authority: bytes, folder: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(purpose)
    made.load_verify_locations(cadata=authority.decode())
    made.verify_mode = ssl.CERT_REQUIRED
    # Go checks X.509 strictly, so this does, too.
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    if pair:
        (folder / f"{purpose}.pem").write_bytes(pair.cert + pair.key)
        made.load_cert_chain(folder / f"{purpose}.pem")
    return made


def handshake(
    folder: Path,
    server: KeyPair,
    client: KeyPair | None,
    *,
    trusted_by_server: bytes,
    trusted_by_client: bytes,
    called: str = "192.0.2.1",
) -> None:
    """Connect with certificates on both sides; raise the refusal of either side."""
    serving = context(ssl.PROTOCOL_TLS_SERVER, server, trusted_by_server, folder)
    calling = context(ssl.PROTOCOL_TLS_CLIENT, client, trusted_by_client, folder)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as other:
        answer = other.submit(answer_one, listener, serving)
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=10) as plain,
                calling.wrap_socket(plain, server_hostname=called) as connection,
            ):
                # In TLS 1.3 a server's refusal of the client arrives with the first bytes read.
                assert connection.recv(5) == b"hello"
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLError, ConnectionError):
            # Only the side that refuses knows why.
            answer.result(timeout=10)
            raise
        answer.result(timeout=10)


def answer_one(listener: socket.socket, serving: ssl.SSLContext) -> None:
    listener.settimeout(10)
    plain, _ = listener.accept()
    with plain, serving.wrap_socket(plain, server_side=True) as connection:
        connection.sendall(b"hello")


@pytest.mark.parametrize("called", API_NAMES)
def test_an_api_server_is_trusted_by_each_of_its_names(pki: Pki, tmp_path: Path, called: str) -> None:
    ca = pki.authority("ca")
    server, client = pki.leaf("m", "kube-apiserver"), pki.leaf("w", "kubelet-client")
    handshake(tmp_path, server, client, trusted_by_server=ca, trusted_by_client=ca, called=called)


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ("etcd-server", "kube-apiserver-etcd-client"),
        ("etcd-server", "flannel-etcd-client"),
        ("etcd-server", "etcd-root"),
        ("etcd-peer", "etcd-peer"),
    ],
)
def test_etcd_and_its_clients_trust_each_other(pki: Pki, tmp_path: Path, server: str, client: str) -> None:
    ca = pki.authority("etcd-ca")
    handshake(tmp_path, pki.leaf("m", server), pki.leaf("m", client), trusted_by_server=ca, trusted_by_client=ca)


def test_an_api_server_and_a_kubelet_trust_each_other(pki: Pki, tmp_path: Path) -> None:
    ca = pki.authority("ca")
    kubelet, api = pki.leaf("w", "kubelet-server"), pki.leaf("m", "kube-apiserver-kubelet-client")
    handshake(tmp_path, kubelet, api, trusted_by_server=ca, trusted_by_client=ca, called="192.0.2.2")


@pytest.mark.parametrize("called", ["192.0.2.2", "w", "kubernetes.example.org"])
def test_a_server_called_by_another_name_is_refused(pki: Pki, tmp_path: Path, called: str) -> None:
    ca = pki.authority("ca")
    server, client = pki.leaf("m", "kube-apiserver"), pki.leaf("w", "kubelet-client")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"mismatch|not valid for"):
        handshake(tmp_path, server, client, trusted_by_server=ca, trusted_by_client=ca, called=called)


def test_a_client_of_another_authority_is_refused(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.leaf("m", "etcd-server"), pki.leaf("m", "admin")
    etcd_ca = pki.authority("etcd-ca")
    with pytest.raises(ssl.SSLCertVerificationError, match="issuer"):
        handshake(tmp_path, server, client, trusted_by_server=etcd_ca, trusted_by_client=etcd_ca)


def test_a_client_of_another_cluster_is_refused(pki: Pki, tmp_path: Path) -> None:
    other = saved(tmp_path / "other", CLUSTER)
    server, client = pki.leaf("m", "kube-apiserver"), other.leaf("m", "admin")
    ca = pki.authority("ca")
    with pytest.raises(ssl.SSLCertVerificationError, match="issuer"):
        handshake(tmp_path, server, client, trusted_by_server=ca, trusted_by_client=ca)


def test_a_server_of_another_authority_is_refused(pki: Pki, tmp_path: Path) -> None:
    ca = pki.authority("ca")
    server, client = pki.leaf("m", "etcd-server"), pki.leaf("w", "kubelet-client")
    with pytest.raises(ssl.SSLCertVerificationError, match="issuer"):
        handshake(tmp_path, server, client, trusted_by_server=ca, trusted_by_client=ca)


def test_a_client_without_a_certificate_is_refused(pki: Pki, tmp_path: Path) -> None:
    ca = pki.authority("ca")
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(tmp_path, pki.leaf("m", "kube-apiserver"), None, trusted_by_server=ca, trusted_by_client=ca)


def test_a_server_s_certificate_is_refused_as_a_client_s(pki: Pki, tmp_path: Path) -> None:
    ca = pki.authority("ca")
    server, client = pki.leaf("m", "kube-apiserver"), pki.leaf("w", "kubelet-server")
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(tmp_path, server, client, trusted_by_server=ca, trusted_by_client=ca)


def test_a_client_s_certificate_is_refused_as_a_server_s(pki: Pki, tmp_path: Path) -> None:
    ca = pki.authority("ca")
    server, client = pki.leaf("m", "kubelet-client"), pki.leaf("w", "kubelet-client")
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(tmp_path, server, client, trusted_by_server=ca, trusted_by_client=ca)


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    pki = saved(tmp_path / "pki", CLUSTER, datetime.now(UTC) - timedelta(days=366))
    ca = pki.authority("ca")
    server, client = pki.leaf("m", "kube-apiserver"), pki.leaf("w", "kubelet-client")
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(tmp_path, server, client, trusted_by_server=ca, trusted_by_client=ca)


# Kept and reissued pairs


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def pair_files(*bases: str) -> set[str]:
    return {f"{base}.{end}" for base in bases for end in ("crt", "key")}


def test_opening_again_changes_nothing_and_gives_the_same_keys(state: Path) -> None:
    first = saved(state, CLUSTER)
    kept = files(state)
    second = saved(state, CLUSTER)
    assert files(state) == kept
    assert [pair_of(first, *leaf) for leaf in TABLE] == [pair_of(second, *leaf) for leaf in TABLE]
    assert [first.authority(name) for name in AUTHORITIES] == [second.authority(name) for name in AUTHORITIES]
    assert first.service_account_key == second.service_account_key
    assert first.encryption_keys == second.encryption_keys


def test_the_keys_in_use_are_the_stored_ones(state: Path) -> None:
    pki = saved(state, CLUSTER)
    assert pki.leaf("w", "kube-proxy").key == (state / "nodes/w/kube-proxy.key").read_bytes()
    assert pki.leaf("w", "kube-proxy").cert == (state / "nodes/w/kube-proxy.crt").read_bytes()
    assert pki.control("admin").cert == (state / "control/admin.crt").read_bytes()
    assert pki.authority("etcd-ca") == (state / "etcd-ca.crt").read_bytes()


def test_a_new_node_gets_certificates_and_nothing_else_changes(state: Path) -> None:
    saved(state, CLUSTER)
    before = files(state)
    more = replace(CLUSTER, nodes=(*CLUSTER.nodes, replace(MINION, name="x", address="192.0.2.3")))
    saved(state, more)
    names = (profile.name for profile in profiles(MINION, CLUSTER, "admins"))
    assert changed(before, files(state)) == pair_files(*(f"nodes/x/{name}" for name in names))


def test_keys_of_nodes_outside_a_run_are_neither_read_nor_made(state: Path) -> None:
    saved(state, CLUSTER)
    shutil.rmtree(state / "nodes/w")
    (state / "nodes/m/admin.key").write_text("damaged")
    before = files(state)
    saved(state, CLUSTER, nodes=[])
    assert files(state) == before
    assert saved(state, replace(CLUSTER, nodes=(MASTER, MINION)), nodes=[MINION]).leaf("w", "kube-proxy")
    assert (state / "nodes/m/admin.key").read_text() == "damaged"


def test_keys_of_a_former_node_are_neither_needed_nor_deleted(state: Path) -> None:
    saved(state, CLUSTER)
    before = files(state)
    (state / "nodes/w/kube-proxy.crt").unlink()
    pki = saved(state, replace(CLUSTER, nodes=(MASTER,)))
    assert changed(before, files(state)) == {"nodes/w/kube-proxy.crt"}
    assert "w" not in {row.node for row in pki.report()}


def test_a_changed_address_reissues_only_the_certificates_that_hold_it(state: Path) -> None:
    saved(state, CLUSTER)
    before = files(state)
    saved(state, replace(CLUSTER, nodes=(MASTER, replace(MINION, address="192.0.2.7"))))
    assert changed(before, files(state)) == pair_files("nodes/w/kubelet-server")


def test_another_api_name_reissues_only_the_certificate_of_the_api_server(state: Path) -> None:
    saved(state, CLUSTER)
    before = files(state)
    pki = saved(state, replace(CLUSTER, extra_api_names=(*EXTRA, "another.example.org")))
    assert changed(before, files(state)) == pair_files("nodes/m/kube-apiserver")
    assert "another.example.org" in names_in(certificate_of(pki.leaf("m", "kube-apiserver").cert))


@pytest.mark.parametrize(("days", "renewed"), [(334, False), (336, True), (400, True)])
def test_a_leaf_is_renewed_with_a_new_key_when_few_days_are_left(state: Path, days: int, renewed: bool) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    old = saved(state, CLUSTER, now).leaf("m", "etcd-peer")
    later = now + timedelta(days=days)
    new = saved(state, CLUSTER, later).leaf("m", "etcd-peer")
    assert (new.key != old.key) is renewed
    assert (new.cert != old.cert) is renewed
    assert certificate_of(new.cert).not_valid_after_utc > later


def test_a_renewal_keeps_authorities_and_all_other_root_keys(state: Path) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    saved(state, CLUSTER, now)
    before = files(state)
    saved(state, CLUSTER, now + timedelta(days=400))
    assert {name.partition("/")[0] for name in changed(before, files(state))} == {"nodes", "control"}


def test_no_leaf_outlives_its_authority_or_is_renewed_without_effect(state: Path) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    saved(state, CLUSTER, now)
    late = now + timedelta(days=3640)
    pki = saved(state, CLUSTER, late)
    assert certificate_of(pki.leaf("m", "admin").cert).not_valid_after_utc == now + timedelta(days=3650)
    assert saved(state, CLUSTER, late).leaf("m", "admin") == pki.leaf("m", "admin")


def test_an_expired_authority_is_refused(state: Path) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    saved(state, CLUSTER, now)
    with pytest.raises(PkiError, match=r"etcd-ca.crt: has expired \(2039-12-30\); .*rotate.py --data what=etcd-ca"):
        saved(state, CLUSTER, now + timedelta(days=3651))


def test_a_new_authority_reissues_the_leaves_of_the_old_one(state: Path, tmp_path: Path) -> None:
    saved(state, CLUSTER)
    saved(tmp_path / "other", CLUSTER)
    before = files(state)
    for file in ("front-proxy-ca.crt", "front-proxy-ca.key"):
        (state / file).write_bytes((tmp_path / "other" / file).read_bytes())
    saved(state, CLUSTER)
    assert changed(before, files(state)) == pair_files("front-proxy-ca", "nodes/m/front-proxy-client")


def test_the_report_lists_the_days_left_of_each_certificate(state: Path) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    rows = saved(state, CLUSTER, now).report(now + timedelta(days=100, hours=1))
    left = {(row.node, row.name): row.days_left for row in rows}
    assert left.keys() == TABLE.keys() | {(CONTROL, name) for name in AUTHORITIES}
    assert left["m", "kube-apiserver"] == 264
    assert left[CONTROL, "ca"] == 3549
    ends = {(row.node, row.name): row.not_after for row in rows}
    assert ends["w", "kube-proxy"] == now + timedelta(days=365)


# The signing authority


SIGNING = replace(CLUSTER, sign_client_certificates=True)


def signed_in_the_cluster(pki: Pki, usage: x509.ObjectIdentifier) -> KeyPair:
    """Return a certificate as the holder of the signing key could make it, with the authority's own."""
    authority = pki.control("signing-ca")
    key, issuer = ec.generate_private_key(ec.SECP256R1()), certificate_of(authority.cert)
    signing_key = load_pem_private_key(authority.key, None)
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("kubernetes")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        .sign(signing_key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return KeyPair(certificate.public_bytes(Encoding.PEM) + authority.cert, private)


def test_there_is_no_signing_authority_unless_set(state: Path) -> None:
    saved(state, CLUSTER)
    assert not list(state.rglob("signing-ca*"))


def test_clients_of_the_signing_authority_are_trusted(state: Path, tmp_path: Path) -> None:
    pki = saved(state, SIGNING)
    ca, client = pki.authority("ca"), signed_in_the_cluster(pki, CLIENT)
    both = ca + pki.control("signing-ca").cert
    handshake(tmp_path, pki.leaf("m", "kube-apiserver"), client, trusted_by_server=both, trusted_by_client=ca)


def test_a_client_s_chain_does_not_make_the_signing_authority_trusted(state: Path, tmp_path: Path) -> None:
    pki = saved(state, SIGNING)
    ca, client = pki.authority("ca"), signed_in_the_cluster(pki, CLIENT)
    with pytest.raises(ssl.SSLError, match=r"self.signed certificate"):
        handshake(tmp_path, pki.leaf("m", "kube-apiserver"), client, trusted_by_server=ca, trusted_by_client=ca)


def test_an_intermediate_authority_of_an_earlier_version_is_replaced(state: Path) -> None:
    before = saved(state, SIGNING)
    ca_key = load_pem_private_key((state / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    ca, own = certificate_of(before.authority("ca")), certificate_of(before.control("signing-ca").cert)
    intermediate = (
        x509.CertificateBuilder(ca.subject, own.subject, own.public_key(), own.serial_number)
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([CLIENT]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    (state / "signing-ca.crt").write_bytes(intermediate.public_bytes(Encoding.PEM))
    after = certificate_of(saved(state, SIGNING).control("signing-ca").cert)
    assert after.public_key() != own.public_key()
    after.verify_directly_issued_by(after)


def test_servers_of_the_signing_authority_are_refused(state: Path, tmp_path: Path) -> None:
    pki = saved(state, SIGNING)
    ca, server = pki.authority("ca"), signed_in_the_cluster(pki, SERVER)
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        handshake(tmp_path, server, None, trusted_by_server=ca, trusted_by_client=ca, called="kubernetes")


def test_the_signing_authority_signs_no_authority_and_is_valid_as_long_as_the_ca(
    state: Path,
) -> None:
    pki = saved(state, SIGNING)
    signing, authority = certificate_of(pki.control("signing-ca").cert), certificate_of(pki.authority("ca"))
    signing.verify_directly_issued_by(signing)
    constraints = signing.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert abs(signing.not_valid_after_utc - authority.not_valid_after_utc) < timedelta(days=1)
    assert saved(state, SIGNING).control("signing-ca") == pki.control("signing-ca")


def test_reissuing_all_leaves_keeps_the_signing_authority(state: Path) -> None:
    before = saved(state, SIGNING).control("signing-ca")
    shutil.rmtree(state / "control")
    shutil.rmtree(state / "nodes")
    assert saved(state, SIGNING).control("signing-ca") == before


def test_the_signing_authority_is_kept_while_its_setting_is_off(state: Path) -> None:
    before = saved(state, SIGNING).control("signing-ca")
    saved(state, CLUSTER)
    assert saved(state, SIGNING).control("signing-ca") == before


# Looks


def test_a_look_makes_missing_keys_in_memory_only(state: Path) -> None:
    pki = Pki.open(state, CLUSTER)
    assert not pki.saved
    certificate_of(pki.leaf("w", "kube-proxy").cert).verify_directly_issued_by(certificate_of(pki.authority("ca")))
    assert not state.exists()
    pki.save()
    assert pki.saved
    assert Pki.open(state, CLUSTER).saved
    assert Pki.open(state, CLUSTER).leaf("w", "kube-proxy") == pki.leaf("w", "kube-proxy")


def test_a_look_renews_nothing_and_reports_the_stored_certificates(state: Path) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    saved(state, CLUSTER, now)
    before = files(state)
    pki = Pki.open(state, CLUSTER, now + timedelta(days=350))
    assert not pki.saved
    assert {row.days_left for row in pki.report(now + timedelta(days=350)) if row.name not in AUTHORITIES} == {15}
    assert files(state) == before


def test_a_look_does_not_finish_an_interrupted_write(state: Path) -> None:
    old = saved(state, CLUSTER).leaf("m", "admin")
    base = state / "nodes/m/admin"
    base.with_suffix(".crt").replace(f"{base}.crt.new")
    before = files(state)
    assert Pki.open(state, CLUSTER).leaf("m", "admin") == old
    assert files(state) == before


def test_a_look_waits_for_a_run_that_writes(state: Path) -> None:
    saved(state, CLUSTER)
    with ThreadPoolExecutor(1) as pool, FileLock(state / ".lock"):
        looking = pool.submit(Pki.open, state, CLUSTER)
        assert wait([looking], timeout=0.3).not_done
    assert looking.result().saved


def test_files_to_be_restored_are_read_in_place_of_the_stored_ones(state: Path, tmp_path: Path) -> None:
    other = saved(state, CLUSTER)
    over = {name: content for name, content in files(state).items() if name != ".lock"}
    over[ISSUED] = (state / ISSUED).read_bytes()
    pki = Pki.open(tmp_path / "empty", CLUSTER, over=over)
    assert pki.saved
    assert pki.authority("ca") == other.authority("ca")
    assert pki.leaf("m", "admin") == other.leaf("m", "admin")
    del over["encryption.key"]
    with pytest.raises(PkiError, match=r"encryption\.key: is missing, but the cluster was made with it"):
        Pki.open(tmp_path / "empty", CLUSTER, over=over)


def test_a_folder_of_keys_is_known_by_digests_and_by_missing_files(state: Path) -> None:
    new = Pki.open(state, CLUSTER)
    assert set(new.known().missing) == {f"{name}.key" for name in (*AUTHORITIES, "service-account", "encryption")}
    new.save()
    known = Pki.open(state, CLUSTER).known()
    assert known == replace(new.known(), missing=())
    assert known.authorities["etcd-ca"] == {certificate_of(new.authority("etcd-ca")).fingerprint(hashes.SHA256()).hex()}
    [key] = new.encryption_keys
    assert known.encryption_keys == {"key1": sha256(b64decode(key.secret)).hexdigest()[:16]}
    assert known.service_account_keys == public_key_digests(new.service_account_key.cert)


def test_each_key_in_a_rotation_is_known_until_it_is_deleted(state: Path) -> None:
    [old] = saved(state, CLUSTER).known().service_account_keys
    both = rotated(state, CLUSTER, Step.TRUST, roots=["service-account"]).known().service_account_keys
    assert both > {old}
    pki = Pki.open(state, CLUSTER).rotated(["service-account"], Step.SIGN).rotated(["service-account"], Step.RETIRE)
    pki.save()
    assert Pki.open(state, CLUSTER).known().service_account_keys == both
    pki.retire()
    assert Pki.open(state, CLUSTER).known().service_account_keys == both - {old}


def test_the_age_of_client_authorities_is_known(state: Path) -> None:
    noon = datetime(2026, 11, 24, 12, 5, tzinfo=UTC)
    assert saved(state, CLUSTER).known().client_authorities == {"users-ca": ""}
    # The authority that this run makes is not known before.
    assert Pki.open(state, SIGNING, noon).known().client_authorities == {"users-ca": "", "signing-ca": ""}
    saved(state, SIGNING, noon)
    user = Pki.open(state, SIGNING, noon).with_user("jane", (), 30)
    assert user.opened.known().client_authorities["users-ca"] == ""
    user.save()
    made = "2026-11-24T12:00:00Z"
    assert Pki.open(state, SIGNING, noon).known().client_authorities == {"users-ca": made, "signing-ca": made}


def test_keys_that_another_run_made_first_are_not_replaced(state: Path) -> None:
    late = Pki.open(state, CLUSTER)
    saved(state, CLUSTER)
    before = files(state)
    with pytest.raises(PkiError, match=r"ca\.key: another run made this file meanwhile; run again"):
        late.save()
    assert files(state) == before


# Files


def modes(state: Path) -> dict[str, int]:
    return {
        str(path.relative_to(state)): stat.S_IMODE(path.stat().st_mode) for path in state.rglob("*") if path.is_file()
    }


@pytest.fixture
def no_umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


@pytest.mark.usefixtures("no_umask")
def test_keys_are_private_with_any_umask(state: Path) -> None:
    saved(state, CLUSTER)
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    private = {name: mode for name, mode in modes(state).items() if name.endswith((".key", ".lock"))}
    assert private.keys() >= {"service-account.key", "encryption.key", *(f"{name}.key" for name in AUTHORITIES)}
    assert set(private.values()) == {0o600}
    assert {mode for name, mode in modes(state).items() if name.endswith((".crt", ".pub"))} == {0o644}


def test_a_state_directory_open_to_others_is_closed(state: Path) -> None:
    state.mkdir(mode=0o755)
    saved(state, CLUSTER)
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


@pytest.mark.usefixtures("no_umask")
def test_keys_are_private_from_their_first_byte(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of a key is created with mode 0600, also under its temporary name."""
    made: dict[str, int] = {}
    real_open = os.open

    def note(path: str | Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real_open(path, flags, mode)
        if flags & os.O_CREAT and ".key" in Path(path).name:
            made[str(Path(path).relative_to(state)).removesuffix(".new")] = stat.S_IMODE(os.fstat(descriptor).st_mode)
        return descriptor

    monkeypatch.setattr(os, "open", note)
    saved(state, CLUSTER)
    assert made == {name: 0o600 for name in modes(state) if name.endswith(".key")}


AT_ONCE = """
import pathlib, sys
from tests.settings import SETTINGS
from tests.unit.keys import saved
from tests.unit.keys import CLUSTER

print("ready", flush=True)
sys.stdin.readline()
sys.stdout.write(saved(pathlib.Path(sys.argv[1]), CLUSTER).authority("ca").decode())
"""


def test_two_simultaneous_processes_make_the_keys_of_one_cluster(state: Path) -> None:
    command = [sys.executable, "-c", AT_ONCE, str(state)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for process in both:
        assert process.stdout
        process.stdout.readline()
    for process in both:
        assert process.stdin
        process.stdin.write(b"go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in both]
    # A process that found no keys and saves second is refused.
    assert {*outputs, (state / "ca.crt").read_bytes()} <= {b"", (state / "ca.crt").read_bytes()}
    assert any(outputs)
    before = files(state)
    saved(state, CLUSTER)
    assert files(state) == before


Action = Callable[[Path, datetime], object]


def save(state: Path, now: datetime) -> None:
    saved(state, CLUSTER, now)


def trust_new_keys(state: Path, now: datetime) -> None:
    rotated(state, CLUSTER, Step.TRUST, roots=["ca", "encryption"], now=now)


START = datetime(2030, 1, 1, tzinfo=UTC)
RENEWAL = START + timedelta(days=350)


def acted(state: Path, last: int, now: datetime, action: Action) -> tuple[int | None, int]:
    """Run an action in a process that is killed after `last` file operations; return its exit code and their number."""
    forking = get_context("fork")
    steps = forking.Value("i")

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            if steps.value == last:
                os.kill(os.getpid(), signal.SIGKILL)
            steps.value += 1
            return real(*arguments, **options)

        return call

    def act() -> None:
        with pytest.MonkeyPatch.context() as patched:
            # Kubekeel changes files only by these calls.
            for home, name in ((os, "open"), (os, "fsync"), (Path, "replace")):
                patched.setattr(home, name, dying(getattr(home, name)))
            action(state, now)

    process = forking.Process(target=act)
    process.start()
    process.join()
    return process.exitcode, steps.value


@cache
def steps_of(action: Action, now: datetime, existing: bool) -> int:
    """Return the number of an action's file operations, with or without existing keys."""
    with TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        if existing:
            saved(state, CLUSTER, START)
        return acted(state, -1, now, action)[1]


def interrupt(state: Path, part: float, now: datetime, action: Action) -> None:
    """Kill an action after this part of its file operations; 1 is before the last one."""
    steps = steps_of(action, now, state.exists())
    status, _ = acted(state, round(part * (steps - 1)), now, action)
    assert status == -signal.SIGKILL


PARTS = [part / 11 for part in range(12)]
SOME = [part / 5 for part in range(6)]


@pytest.mark.parametrize("part", PARTS)
def test_the_next_run_finishes_a_first_run_interrupted_anywhere(state: Path, part: float) -> None:
    interrupt(state, part, START, save)
    before = files(state)
    settled = {name: text for name, text in before.items() if not name.endswith((".new", ".lock"))}
    looked = Pki.open(state, CLUSTER, START)
    assert files(state) == before
    assert saved(state, CLUSTER, START).known().encryption_keys.keys() == looked.known().encryption_keys.keys()
    made = files(state)
    # Complete files are kept: no root key is made again.
    assert {name: made[name] for name in settled} == settled
    assert not list(state.rglob("*.new"))


@pytest.mark.parametrize("part", SOME)
def test_an_interrupted_renewal_leaves_complete_pairs(state: Path, part: float) -> None:
    saved(state, CLUSTER, START)
    interrupt(state, part, RENEWAL, save)
    before = files(state)
    check_pairs(Pki.open(state, CLUSTER, RENEWAL), RENEWAL)
    assert files(state) == before
    check_pairs(saved(state, CLUSTER, RENEWAL), RENEWAL)
    assert not list(state.rglob("*.new"))


def check_pairs(pki: Pki, later: datetime) -> None:
    for leaf in TABLE:
        pair = pair_of(pki, *leaf)
        assert certificate_of(pair.cert).public_key() == load_pem_private_key(pair.key, None).public_key()
        assert certificate_of(pair.cert).not_valid_after_utc == later + timedelta(days=365)


# Rotations


ROTATED = (*AUTHORITIES, SERVICE_ACCOUNT, "encryption")
SEEN = [(1,), (1, 2), (2, 1), (2,)]


@pytest.mark.parametrize("root", ROTATED)
def test_a_new_key_is_trusted_before_it_signs_and_the_old_one_is_removed_last(state: Path, root: str) -> None:
    seen = [saved(state, CLUSTER).generations()]
    for step in Step:
        rotated(state, CLUSTER, step, roots=[root])
        seen.append(saved(state, CLUSTER).generations())
    assert [each[root] for each in seen] == SEEN
    assert {number for each in seen for name in ROTATED if name != root for number in each[name]} == {1}


@pytest.mark.parametrize("root", AUTHORITIES)
def test_old_and_new_leaves_trust_each_other_during_a_rotation(state: Path, tmp_path: Path, root: str) -> None:
    server, client = {
        "ca": ("kube-apiserver", "kubelet-client"),
        "etcd-ca": ("etcd-server", "etcd-root"),
        "front-proxy-ca": ("kube-apiserver", "front-proxy-client"),
    }[root]
    phases = [saved(state, CLUSTER), *(rotated(state, CLUSTER, step, roots=[root]) for step in Step)]
    other = {"front-proxy-ca": "ca"}.get(root, root)
    for one, next_one in pairwise(phases):
        for serving, calling in ((one, next_one), (next_one, one)):
            handshake(
                tmp_path,
                serving.leaf("m", server),
                calling.leaf("m", client),
                trusted_by_server=serving.authority(root),
                trusted_by_client=calling.authority(other),
            )
    old, new = phases[0], phases[-1]
    with pytest.raises(ssl.SSLError, match="issuer"):
        handshake(
            tmp_path,
            new.leaf("m", server),
            old.leaf("m", client),
            trusted_by_server=new.authority(root),
            trusted_by_client=new.authority(other),
        )


def test_a_new_authority_signs_all_its_leaves_in_one_step(state: Path) -> None:
    saved(state, CLUSTER)
    before = files(state)
    trusted = rotated(state, CLUSTER, Step.TRUST, roots=AUTHORITIES)
    assert changed(before, files(state)) == pair_files(*AUTHORITIES)
    between = files(state)
    signed = rotated(state, CLUSTER, Step.SIGN, roots=AUTHORITIES)
    leaves = {name.rpartition(".")[0] for name in between if name.startswith(("nodes/", "control/"))}
    assert changed(between, files(state)) == pair_files(*AUTHORITIES, *leaves)
    # The order stays, so no reader has to restart.
    assert [trusted.authority(name) for name in AUTHORITIES] == [signed.authority(name) for name in AUTHORITIES]
    assert trusted.revocation_list() == signed.revocation_list()


def test_tokens_are_verified_by_both_keys_and_signed_by_one(state: Path) -> None:
    pki = saved(state, CLUSTER)
    for step, signs in ((Step.TRUST, 0), (Step.SIGN, 1), (Step.RETIRE, 0)):
        pki = rotated(state, CLUSTER, step, roots=[SERVICE_ACCOUNT])
        key = pki.service_account_key
        public = load_pem_private_key(key.key, None).public_key()
        blocks = [block + b"-----END PUBLIC KEY-----\n" for block in key.cert.split(b"-----END PUBLIC KEY-----\n")[:-1]]
        assert [public == load_pem_public_key(block) for block in blocks].index(True) == signs
        assert len(blocks) == (1 if step is Step.RETIRE else 2)


def test_a_retired_authority_stays_known_until_no_host_trusts_it(state: Path) -> None:
    rotated(state, CLUSTER, Step.TRUST, Step.SIGN, roots=["ca"])
    both = saved(state, CLUSTER).known().authorities["ca"]
    retiring = Pki.open(state, CLUSTER).rotated(["ca"], Step.RETIRE)
    retiring.save()
    assert retiring.saved
    assert len(both) == 2
    assert saved(state, CLUSTER).known().authorities["ca"] == both
    assert retiring.known().authorities["ca"] < both
    retiring.retire()
    assert saved(state, CLUSTER).known().authorities["ca"] == retiring.known().authorities["ca"]


def test_a_rotation_replaces_an_expired_authority_at_once(state: Path) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    saved(state, CLUSTER, now)
    later = now + timedelta(days=3651)
    pki = Pki.open(state, CLUSTER, later, rotating=AUTHORITIES)
    assert pki.ended == set(AUTHORITIES)
    after = pki.rotated(AUTHORITIES, Step.TRUST)
    assert after.ended == set()
    for node, name in TABLE:
        certificate = certificate_of(pair_of(after, node, name).cert)
        newest = x509.load_pem_x509_certificates(after.authority(TABLE[node, name][0]))[-1]
        certificate.verify_directly_issued_by(newest)
        assert certificate.not_valid_after_utc == later + timedelta(days=365)


def test_each_generation_of_an_authority_has_its_own_name(state: Path) -> None:
    rotated(state, CLUSTER, roots=["ca"])
    subject = attributes(certificate_of(rotated(state, CLUSTER, roots=["ca"]).authority("ca")).subject)
    assert subject[NameOID.COMMON_NAME] == "kubekeel ca 3"


def test_an_encryption_key_keeps_its_name_and_secret_through_a_rotation(state: Path) -> None:
    [old] = saved(state, CLUSTER).encryption_keys
    kept, new = rotated(state, CLUSTER, Step.TRUST).encryption_keys
    assert kept == old
    assert new.secret != old.secret
    assert rotated(state, CLUSTER, Step.SIGN, Step.RETIRE).encryption_keys == (new,)


@pytest.mark.parametrize("taken", range(3))
def test_a_repeated_rotation_continues_where_it_stopped(state: Path, taken: int) -> None:
    saved(state, CLUSTER)
    rotated(state, CLUSTER, *[*Step][:taken], roots=ROTATED) if taken else None
    assert set(rotated(state, CLUSTER, roots=ROTATED).generations().values()) == {(2,)}
    assert set(saved(state, CLUSTER).generations().values()) == {(2,)}


def test_a_tenth_rotation_sorts_its_keys_by_number(state: Path) -> None:
    saved(state, CLUSTER)
    for _ in range(9):
        rotated(state, CLUSTER)
    assert saved(state, CLUSTER).generations()["encryption"] == (10,)


@pytest.mark.parametrize("part", SOME)
def test_an_interrupted_rotation_step_leaves_the_keys_before_or_after_it(state: Path, part: float) -> None:
    before = saved(state, CLUSTER, START).generations()
    interrupt(state, part, START, trust_new_keys)
    kept = saved(state, CLUSTER, START).generations()
    for root in ROTATED:
        assert kept[root] in ((before[root], (1, 2)) if root in ("ca", "encryption") else (before[root],))
    assert not [path for path in state.rglob("*.new") if path.suffixes[0] != ".key"]


# Damage is refused, never repaired by guessing


ROOTS = (
    *(f"{name}.{end}" for name in AUTHORITIES for end in ("crt", "key")),
    *("service-account.key", "service-account.pub", "encryption.key"),
)


def refused(state: Path) -> tuple[str, ...]:
    before = files(state)
    with pytest.raises(PkiError) as error:
        saved(state, CLUSTER)
    assert changed(before, files(state)) <= {".lock"}
    assert all(fault.startswith(str(state)) and "; " in fault for fault in error.value.faults)
    return error.value.faults


@pytest.mark.parametrize("file", ROOTS)
def test_a_missing_root_key_is_refused(state: Path, file: str) -> None:
    saved(state, CLUSTER)
    (state / file).unlink()
    assert refused(state) == (
        f"{state / file}: is missing, but the cluster was made with it; restore it from a backup",
    )


def test_all_missing_root_keys_are_named_at_once(state: Path) -> None:
    saved(state, CLUSTER)
    for file in ROOTS:
        (state / file).unlink()
    assert {fault.partition(":")[0] for fault in refused(state)} == {str(state / file) for file in ROOTS}


def test_half_an_authority_is_refused_even_before_the_first_leaf(state: Path) -> None:
    state.mkdir()
    (state / "ca.crt").write_bytes(b"")
    assert refused(state)[0].startswith(f"{state}/ca.key: is missing")


@pytest.mark.parametrize(("end", "other"), [("crt", "key"), ("key", "crt")])
def test_half_a_leaf_is_refused(state: Path, end: str, other: str) -> None:
    saved(state, CLUSTER)
    (state / f"nodes/w/kube-proxy.{end}").unlink()
    assert refused(state) == (
        f"{state}/nodes/w/kube-proxy.{end}: is missing; restore it, or remove kube-proxy.{other} to get a new pair",
    )


def test_a_leaf_removed_with_its_key_is_reissued(state: Path) -> None:
    saved(state, CLUSTER)
    before = files(state)
    for end in ("crt", "key"):
        (state / f"nodes/w/kube-proxy.{end}").unlink()
    saved(state, CLUSTER)
    assert changed(before, files(state)) == pair_files("nodes/w/kube-proxy")


@pytest.mark.parametrize("file", ["ca.crt", "nodes/w/kube-proxy.crt"])
def test_an_unreadable_certificate_is_refused(state: Path, file: str) -> None:
    saved(state, CLUSTER)
    (state / file).write_bytes(b"-----BEGIN CERT")
    [fault] = refused(state)
    assert f"{file}: is not a certificate; restore it" in fault


@pytest.mark.parametrize("file", ["ca.key", "service-account.key", "control/admin.key"])
def test_an_unreadable_key_is_refused(state: Path, file: str) -> None:
    saved(state, CLUSTER)
    (state / file).write_bytes(b"")
    [fault] = refused(state)
    assert f"{file}: is not a private key; restore it" in fault


@pytest.mark.parametrize(
    ("private", "public"),
    [
        ("etcd-ca.key", "etcd-ca.crt"),
        ("service-account.key", "service-account.pub"),
        ("nodes/m/admin.key", "nodes/m/admin.crt"),
    ],
)
def test_a_key_that_does_not_fit_its_certificate_is_refused(state: Path, private: str, public: str) -> None:
    saved(state, CLUSTER)
    (state / private).write_bytes((state / "front-proxy-ca.key").read_bytes())
    [fault] = refused(state)
    assert f"{public}: does not belong to {Path(private).name}; restore it" in fault


@pytest.mark.parametrize(
    "content", ["", "key1 c2hvcnQ=\n", "key1 not base64!\n", f"{'A' * 43}=\n", f"key0 {'A' * 43}=\n"]
)
def test_a_malformed_encryption_key_is_refused(state: Path, content: str) -> None:
    saved(state, CLUSTER)
    (state / "encryption.key").write_text(content)
    [fault] = refused(state)
    assert "encryption.key: is not a list of key names, each with the base64 of 32 bytes; restore it" in fault


def test_all_damaged_leaves_are_named_at_once(state: Path) -> None:
    saved(state, CLUSTER)
    (state / "nodes/m/admin.crt").write_bytes(b"")
    (state / "nodes/m/kube-scheduler.key").unlink()
    (state / "nodes/w/kube-proxy.key").write_bytes(b"")
    assert len(refused(state)) == 3


# Revocations


HOUR = timedelta(hours=1)
GROUP_2 = {NameOID.COMMON_NAME: "kubernetes-admin", NameOID.ORGANIZATION_NAME: "kubekeel:cluster-admins:2"}


def test_revoked_administrators_are_replaced_by_another_group_for_good(state: Path) -> None:
    saved(state, CLUSTER)
    before = files(state)
    revoked = Pki.open(state, CLUSTER).without_administrators()
    assert files(state) == before
    revoked.save()
    admins = pair_files("control/admin", "nodes/m/admin")
    assert changed(before, files(state)) == admins | {"revocations.json"}
    shutil.rmtree(state / "control")
    for pki in (revoked, saved(state, CLUSTER)):
        assert pki.revocations.administrators_group == "kubekeel:cluster-admins:2"
        for pair in (pki.control("admin"), pki.leaf("m", "admin")):
            assert attributes(certificate_of(pair.cert).subject) == GROUP_2
    again = Pki.open(state, CLUSTER).without_administrators().revocations
    assert (again.administrators_group, again.number) == ("kubekeel:cluster-admins:3", 2)


def test_a_certificate_that_an_administrator_has_signed_ends_with_the_administrators(state: Path) -> None:
    before = saved(state, SIGNING).control("signing-ca")
    Pki.open(state, SIGNING).without_administrators().save()
    after = saved(state, SIGNING).control("signing-ca")
    assert after != before
    assert saved(state, SIGNING).control("signing-ca") == after


def test_a_rotation_of_the_ca_replaces_the_authority_of_signed_client_certificates(state: Path) -> None:
    now = datetime.now(UTC)
    before = saved(state, SIGNING, now).control("signing-ca")
    assert rotated(state, SIGNING, Step.TRUST, roots=("ca",), now=now + HOUR).control("signing-ca") == before
    after = rotated(state, SIGNING, Step.SIGN, roots=("ca",), now=now + 2 * HOUR).control("signing-ca")
    assert after != before
    again = rotated(state, SIGNING, Step.SIGN, Step.RETIRE, roots=("ca",), now=now + 3 * HOUR)
    assert again.control("signing-ca") == after


def test_a_run_compares_hosts_with_the_revocations_before_its_own(state: Path) -> None:
    saved(state, CLUSTER).without_administrators().save()
    revoked = Pki.open(state, CLUSTER).without_administrators()
    assert (revoked.opened.known().revocations, revoked.known().revocations) == (1, 2)


@pytest.mark.parametrize(
    "content", ["", "{", "{}", '{"number": 1, "since": "x", "administrators": 1, "certificates": []}']
)
def test_a_damaged_list_of_revocations_is_refused(state: Path, content: str) -> None:
    saved(state, CLUSTER)
    (state / "revocations.json").write_text(content)
    with pytest.raises(PkiError, match=r"revocations.json: is not a list of revocations; restore it"):
        Pki.open(state, CLUSTER)


def names_and_end(pair: KeyPair) -> tuple[str, list[str], datetime]:
    certificate = certificate_of(pair.cert)
    name, *groups = reversed([str(attribute.value) for attribute in certificate.subject])
    return name, groups[::-1], certificate.not_valid_after_utc


def test_the_first_user_creates_the_authority_that_admits_users(state: Path, tmp_path: Path) -> None:
    assert saved(state, CLUSTER).users_authority == b""
    now = datetime.now(UTC)
    Pki.open(state, CLUSTER, now).with_user("jane", ("dev", "ops"), 30).save()
    first = Pki.open(state, CLUSTER)
    Pki.open(state, CLUSTER).with_user("joe", (), 1).save()
    pki = saved(state, CLUSTER)
    assert pki.users_authority == first.users_authority
    assert names_and_end(pki.users["jane"])[:2] == ("jane", ["dev", "ops"])
    assert abs(names_and_end(pki.users["jane"])[2] - now - timedelta(days=30)) < timedelta(minutes=1)
    ca = pki.authority("ca")
    for trusted in (ca + pki.users_authority, ca):
        with nullcontext() if trusted != ca else pytest.raises(ssl.SSLError, match="issuer"):
            handshake(
                tmp_path,
                pki.leaf("m", "kube-apiserver"),
                pki.users["jane"],
                trusted_by_server=trusted,
                trusted_by_client=ca,
            )


def test_a_revoked_user_is_refused_and_others_get_new_pairs_with_the_same_end(state: Path, tmp_path: Path) -> None:
    saved(state, CLUSTER).with_user("jane", ("dev",), 30).with_user("joe", ("ops", "dev"), 20).save()
    before = saved(state, CLUSTER)
    (state / "users/jane.conf").touch()
    before.without_user("jane").save()
    after = saved(state, CLUSTER)
    assert {path.name for path in (state / "users").iterdir()} == {"joe.crt", "joe.key"}
    assert names_and_end(after.users["joe"]) == names_and_end(before.users["joe"])
    assert after.revocations.number == 1
    ca, server = after.authority("ca"), after.leaf("m", "kube-apiserver")
    trusted = ca + after.users_authority
    handshake(tmp_path, server, after.users["joe"], trusted_by_server=trusted, trusted_by_client=ca)
    with pytest.raises(ssl.SSLError, match="issuer"):
        handshake(tmp_path, server, before.users["jane"], trusted_by_server=trusted, trusted_by_client=ca)


def test_a_backup_does_not_bring_a_revoked_user_back(state: Path) -> None:
    saved(state, CLUSTER).with_user("jane", (), 30).with_user("joe", (), 30).save()
    backup = {path: path.read_bytes() for path in (state / "users").glob("jane.*")}
    saved(state, CLUSTER).without_user("jane").save()
    for path, content in backup.items():
        path.write_bytes(content)
    assert saved(state, CLUSTER).users.keys() == {"joe"}
    saved(state, CLUSTER).without_user("joe").save()
    assert saved(state, CLUSTER).users == {}


def test_an_unknown_user_is_revoked_only_after_it_was_added_here(state: Path, tmp_path: Path) -> None:
    saved(state, CLUSTER).with_user("joe", (), 1).save()
    shutil.copytree(state, tmp_path / "other")
    elsewhere = saved(tmp_path / "other", CLUSTER).with_user("jane", (), 30).users["jane"]
    with pytest.raises(
        PkiError, match=r"users/jane.crt: is missing \(users here: joe\); if another copy of .* add the user here"
    ):
        saved(state, CLUSTER).without_user("jane")
    saved(state, CLUSTER).with_user("jane", (), 1).save()
    saved(state, CLUSTER).without_user("jane").save()
    signer = certificate_of(saved(state, CLUSTER).users_authority)
    with pytest.raises(InvalidSignature):
        certificate_of(elsewhere.cert).verify_directly_issued_by(signer)


@pytest.mark.parametrize(("groups", "days"), [(("ops",), 40), (("dev", "ops"), 1)])
def test_a_user_gets_no_lesser_certificate_while_a_greater_one_is_valid(
    state: Path, groups: tuple[str, ...], days: int
) -> None:
    now = datetime.now(UTC)
    saved(state, CLUSTER, now).with_user("jane", ("dev", "ops"), 30).save()
    with pytest.raises(PkiError, match=r"users/jane.crt: is still valid, .* \(groups: dev, ops; until .*revoke.py"):
        Pki.open(state, CLUSTER, now).with_user("jane", groups, days)
    for still in (("dev", "ops"), ("dev", "ops", "qa")):
        Pki.open(state, CLUSTER, now).with_user("jane", still, 30).save()
    later = now + timedelta(days=41)
    assert Pki.open(state, CLUSTER, later).with_user("jane", groups, days).users.keys() == {"jane"}
    Pki.open(state, CLUSTER, now).without_user("jane").save()
    assert Pki.open(state, CLUSTER, now).with_user("jane", groups, days).users.keys() == {"jane"}


def refused_serials(pki: Pki) -> set[int]:
    return {entry.serial_number for entry in x509.load_der_x509_crl(pki.revocation_list())}


def certificates_of(state: Path, node: str) -> dict[str, x509.Certificate]:
    return {path.stem: certificate_of(path.read_bytes()) for path in (state / "nodes" / node).glob("*.crt")}


def serials_of(state: Path, node: str) -> set[int]:
    return {each.serial_number for each in certificates_of(state, node).values()}


def test_a_node_that_is_removed_twice_leaves_no_key_and_gets_others_when_it_returns(state: Path) -> None:
    saved(state, CLUSTER)
    before = serials_of(state, "w")
    for _ in range(2):
        Pki.open(state, CLUSTER).without_node("w", gone=True).save()
        assert not (state / "nodes/w").exists()
    refused = refused_serials(saved(state, CLUSTER))
    assert before & refused
    assert serials_of(state, "w").isdisjoint(before | refused)
    assert len(serials_of(state, "w")) == len(before)


def test_a_backup_does_not_bring_a_revoked_node_back(state: Path, tmp_path: Path) -> None:
    saved(state, CLUSTER)
    before = serials_of(state, "w")
    shutil.copytree(state / "nodes/w", tmp_path / "w")
    Pki.open(state, CLUSTER).without_node("w", gone=True).save()
    shutil.copytree(tmp_path / "w", state / "nodes/w")
    refused = refused_serials(saved(state, CLUSTER))
    assert before & refused
    assert serials_of(state, "w").isdisjoint(before | refused)
    assert len(serials_of(state, "w")) == len(before)


@pytest.mark.parametrize("listed", [True, False])
def test_revoking_a_node_revokes_all_its_certificates_and_reissues_its_keys(state: Path, listed: bool) -> None:
    now = datetime.now(UTC)
    saved(state, CLUSTER, now - timedelta(days=340))
    early = certificates_of(state, "w")
    before = saved(state, CLUSTER, now)
    old, others = certificates_of(state, "w"), certificates_of(state, "m")
    if not listed:
        # Earlier versions wrote no list.
        (state / ISSUED).unlink()
    revoked = Pki.open(state, CLUSTER, now).without_node("w")
    assert refused_serials(before) == set()
    assert certificates_of(state, "w") == old
    revoked.save()
    new = certificates_of(state, "w")
    assert new.keys() == old.keys()
    assert not {each.serial_number for each in new.values()} & {each.serial_number for each in old.values()}
    assert certificates_of(state, "m") == others
    gone = [*old.values(), *(early.values() if listed else ())]
    pki = saved(state, CLUSTER, now)
    assert refused_serials(pki) == {each.serial_number for each in gone}
    fingerprints = {each.fingerprint for each in pki.revocations.certificates}
    assert fingerprints == {each.fingerprint(hashes.SHA256()).hex() for each in gone}
    assert pki.revocation_list() == revoked.revocation_list()
    crl = x509.load_der_x509_crl(pki.revocation_list())
    assert crl.is_signature_valid(certificate_of(pki.authority("etcd-ca")).public_key())


def listed(pki: Pki) -> frozenset[Certificate]:
    """Return the certificates that a master lists after a run with these keys."""
    return issued(Path(), pki.issued)


def test_a_revocation_covers_certificates_that_another_copy_of_the_keys_issued(state: Path, tmp_path: Path) -> None:
    now, other = datetime.now(UTC), tmp_path / "other"
    saved(state, CLUSTER, now - timedelta(days=340))
    shutil.copytree(state, other)
    theirs = listed(saved(other, CLUSTER, now))
    unknown = serials_of(other, "w")
    Pki.open(state, CLUSTER, now).knowing(theirs).without_node("w").save()
    pki = saved(state, CLUSTER, now)
    assert unknown <= refused_serials(pki)
    assert refused_serials(pki).isdisjoint(serials_of(state, "w"))
    assert theirs <= listed(pki)


def test_two_copies_of_the_keys_that_learn_from_each_other_list_the_same(state: Path, tmp_path: Path) -> None:
    now, other = datetime.now(UTC), tmp_path / "other"
    saved(state, CLUSTER, now - timedelta(days=400))
    shutil.copytree(state, other)
    # One copy has issued new certificates while the first ones were valid, the other one only after their end.
    saved(state, CLUSTER, now - timedelta(days=100))
    theirs = saved(other, CLUSTER, now)
    ours = Pki.open(state, CLUSTER, now).knowing(listed(theirs))
    ours.save()
    assert ours.issued == theirs.knowing(listed(ours)).issued
    again = Pki.open(state, CLUSTER, now + timedelta(days=1))
    assert again.knowing(listed(ours)).saved
    assert again.issued == ours.issued


def test_revoking_a_node_revokes_also_the_keys_with_which_it_was_a_member_of_etcd(state: Path) -> None:
    saved(state, cluster("ma"))
    member = certificates_of(state, "a")
    saved(state, cluster("m"))
    Pki.open(state, cluster("m")).without_node("a").save()
    refused = refused_serials(saved(state, cluster("m")))
    assert {"etcd-root", "etcd-peer", "etcd-server"} <= member.keys()
    assert [name for name, each in member.items() if each.serial_number not in refused] == []


def test_a_removed_node_leaves_no_keys_and_gets_others_if_it_returns(state: Path) -> None:
    saved(state, CLUSTER)
    old = certificates_of(state, "w")
    Pki.open(state, CLUSTER).without_node("w", gone=True).save()
    assert not (state / "nodes/w").exists()
    pki = saved(state, CLUSTER)
    assert refused_serials(pki) == {each.serial_number for each in old.values()}
    assert refused_serials(pki).isdisjoint(serials_of(state, "w"))


def test_expired_certificates_leave_the_list_of_revocations(state: Path) -> None:
    now = datetime.now(UTC)
    saved(state, CLUSTER, now).without_node("w").save()
    later = now + timedelta(days=366)
    assert refused_serials(Pki.open(state, CLUSTER, later).without_node("nobody")) == set()
