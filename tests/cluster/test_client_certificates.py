"""While its setting is on, the cluster signs approved requests of clients; afterwards it refuses the certificates."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from ssl import create_default_context

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from testinfra.host import Host

from tests.support import CLUSTER, STATE, deployed, run_kubectl, settled, wait_until

MASTER = CLUSTER.masters[0]
SIGNER = "kubernetes.io/kube-apiserver-client"
SIGNING_KEY = "/etc/kubernetes/kube-controller-manager/signing-ca.key"


@pytest.fixture(scope="module")
def signing() -> Iterator[None]:
    deployed("--data", "sign_client_certificates=True")
    yield
    deployed()


def request_certificate(name: str, key: ec.EllipticCurvePrivateKey, *, group: str) -> None:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)]
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject)).sign(key, hashes.SHA256())
    encoded = b64encode(request.public_bytes(Encoding.PEM)).decode()
    manifest = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {"request": encoded, "signerName": SIGNER, "usages": ["client auth"], "expirationSeconds": 3600},
    }
    run_kubectl("create", "-f", "-", given=json.dumps(manifest))


def signed(name: str) -> bytes:
    return b64decode(run_kubectl("get", "csr", name, "-o", "jsonpath={.status.certificate}"))


@pytest.fixture(scope="module")
def jane(signing: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:  # noqa: ARG001
    """Yield a file with a key and the certificate that the cluster signed for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    request_certificate("jane", key, group="developers")
    run_kubectl("certificate", "approve", "jane")
    certificate = wait_until(partial(signed, "jane"), 60, "her request is signed")
    pair = tmp_path_factory.mktemp("jane") / "jane.pem"
    pair.touch(0o600)
    pair.write_bytes(certificate + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    yield pair
    run_kubectl("delete", "csr", "jane")


def with_its_authority(pair: Path) -> Path:
    """Return a copy of the pair with its authority's certificate: clients may send intermediate certificates."""
    chain = pair.with_name(f"chain-{pair.name}")
    chain.touch(0o600)
    chain.write_bytes(pair.read_bytes() + (STATE / "signing-ca.crt").read_bytes())
    return chain


def answer(pair: Path, port: int, path: str, body: object = None) -> tuple[int, str]:
    """Return status and text that a server of the master sends to the holder of a pair."""
    context = create_default_context(cafile=str(STATE / "ca.crt"))
    context.load_cert_chain(pair)
    connection = HTTPSConnection(MASTER.address, port, context=context, timeout=30)
    headers = {"Content-Type": "application/json"}
    connection.request("POST" if body else "GET", path, body=json.dumps(body) if body else None, headers=headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def identity(pair: Path) -> tuple[int, str]:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    return answer(pair, 6443, "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)


def arguments(master: Host) -> list[str]:
    """Return the arguments of the running controller manager, whose name the kernel truncates."""
    return master.check_output("ps -ww -o args= -C kube-controller").split()


def test_the_api_accepts_the_certificate_of_an_approved_request(jane: Path) -> None:
    status, text = identity(jane)
    assert status == 201, text
    user = json.loads(text)["status"]["userInfo"]
    assert (user["username"], user["groups"]) == ("jane", ["developers", "system:authenticated"])


def test_the_holder_of_a_signed_certificate_has_only_granted_rights(jane: Path) -> None:
    status, text = answer(jane, 6443, "/api/v1/namespaces/default/secrets")
    assert status == 403, text


def test_a_kubelet_refuses_a_certificate_that_the_cluster_signed(jane: Path) -> None:
    assert answer(jane, 10250, "/pods")[0] == 401
    assert answer(with_its_authority(jane), 10250, "/pods")[0] == 401


@pytest.mark.usefixtures("signing")
def test_requests_for_system_masters_are_refused() -> None:
    with pytest.raises(AssertionError, match="system:masters"):
        request_certificate("mallory", ec.generate_private_key(ec.SECP256R1()), group="system:masters")


@pytest.mark.usefixtures("signing")
def test_the_controller_manager_signs_only_for_clients_of_the_api(master, on) -> None:
    options = {argument.partition("=")[0] for argument in arguments(on(master)) if "cluster-signing" in argument}
    assert options == {f"--cluster-signing-kube-apiserver-client-{file}-file" for file in ("cert", "key")}
    assert on(master).file(SIGNING_KEY).mode == 0o600


@pytest.mark.usefixtures("signing")
def test_a_minion_does_not_have_the_signing_key(minion, on) -> None:
    if "masters" not in minion.roles:
        assert not on(minion).file(SIGNING_KEY).exists


def test_without_the_setting_signed_certificates_are_refused_and_the_key_is_deleted(jane: Path, on) -> None:
    chain = with_its_authority(jane)
    assert identity(chain)[0] == 201
    settled()
    wait_until(lambda: identity(jane)[0] == 401, 60, "she is refused")
    assert identity(chain)[0] == 401
    for master in CLUSTER.masters:
        assert not on(master).run("find /etc/kubernetes -name 'signing-ca.*'").stdout
        assert not [argument for argument in arguments(on(master)) if "cluster-signing" in argument]
