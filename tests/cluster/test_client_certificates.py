"""Where it is told to, the cluster signs what clients asked for and somebody approved; and it stops when told so."""

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
ON_A_MASTER = "/etc/kubernetes/kube-controller-manager/signing-ca.key"


@pytest.fixture(scope="module")
def signing() -> Iterator[None]:
    deployed("--data", "sign_client_certificates=True")
    yield
    deployed()


def ask(name: str, key: ec.EllipticCurvePrivateKey, *, group: str) -> None:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)]
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject)).sign(key, hashes.SHA256())
    encoded = b64encode(request.public_bytes(Encoding.PEM)).decode()
    asked = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {"request": encoded, "signerName": SIGNER, "usages": ["client auth"], "expirationSeconds": 3600},
    }
    run_kubectl("create", "-f", "-", given=json.dumps(asked))


def signed(name: str) -> bytes:
    return b64decode(run_kubectl("get", "csr", name, "-o", "jsonpath={.status.certificate}"))


@pytest.fixture(scope="module")
def jane(signing: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:  # noqa: ARG001
    """A pair, in one file, that the cluster signed at her request."""
    key = ec.generate_private_key(ec.SECP256R1())
    ask("jane", key, group="developers")
    run_kubectl("certificate", "approve", "jane")
    certificate = wait_until(partial(signed, "jane"), 60, "her request is signed")
    pair = tmp_path_factory.mktemp("jane") / "jane.pem"
    pair.touch(0o600)
    pair.write_bytes(certificate + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    yield pair
    run_kubectl("delete", "csr", "jane")


def with_its_authority(pair: Path) -> Path:
    """The same pair with what signed it behind it: clients may send intermediate certificates."""
    chain = pair.with_name(f"chain-{pair.name}")
    chain.touch(0o600)
    chain.write_bytes(pair.read_bytes() + (STATE / "signing-ca.crt").read_bytes())
    return chain


def answered(pair: Path, port: int, path: str, body: object = None) -> tuple[int, str]:
    """What a server of the master answers to the holder of a pair."""
    context = create_default_context(cafile=str(STATE / "ca.crt"))
    context.load_cert_chain(pair)
    connection = HTTPSConnection(MASTER.address, port, context=context, timeout=30)
    headers = {"Content-Type": "application/json"}
    connection.request("POST" if body else "GET", path, body=json.dumps(body) if body else None, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def who(pair: Path) -> tuple[int, str]:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    return answered(pair, 6443, "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)


def arguments(master: Host) -> list[str]:
    """Those of the controller manager that runs; the kernel cuts its name off."""
    return master.check_output("ps -ww -o args= -C kube-controller").split()


def test_the_api_knows_whom_an_approved_request_was_signed_for(jane: Path) -> None:
    status, text = who(jane)
    assert status == 201, text
    user = json.loads(text)["status"]["userInfo"]
    assert (user["username"], user["groups"]) == ("jane", ["developers", "system:authenticated"])


def test_whom_it_was_signed_for_has_no_rights_but_those_given(jane: Path) -> None:
    status, text = answered(jane, 6443, "/api/v1/namespaces/default/secrets")
    assert status == 403, text


def test_a_kubelet_does_not_know_whom_the_cluster_signed_for(jane: Path) -> None:
    assert answered(jane, 10250, "/pods")[0] == 401
    assert answered(with_its_authority(jane), 10250, "/pods")[0] == 401


@pytest.mark.usefixtures("signing")
def test_nobody_may_ask_to_be_above_all_rights() -> None:
    with pytest.raises(AssertionError, match="system:masters"):
        ask("mallory", ec.generate_private_key(ec.SECP256R1()), group="system:masters")


@pytest.mark.usefixtures("signing")
def test_the_controller_manager_can_sign_for_clients_of_the_api_and_nothing_else(master, on) -> None:
    options = {argument.partition("=")[0] for argument in arguments(on(master)) if "cluster-signing" in argument}
    assert options == {f"--cluster-signing-kube-apiserver-client-{file}-file" for file in ("cert", "key")}
    assert on(master).file(ON_A_MASTER).mode == 0o600


@pytest.mark.usefixtures("signing")
def test_a_minion_does_not_hold_what_signs(minion, on) -> None:
    if "masters" not in minion.roles:
        assert not on(minion).file(ON_A_MASTER).exists


def test_what_was_signed_is_refused_and_the_key_gone_once_the_cluster_is_to_sign_no_more(jane: Path, on) -> None:
    chain = with_its_authority(jane)
    assert who(chain)[0] == 201
    settled()
    wait_until(lambda: who(jane)[0] == 401, 60, "she is refused")
    assert who(chain)[0] == 401
    for master in CLUSTER.masters:
        assert not on(master).run("find /etc/kubernetes -name 'signing-ca.*'").stdout
        assert not [argument for argument in arguments(on(master)) if "cluster-signing" in argument]
