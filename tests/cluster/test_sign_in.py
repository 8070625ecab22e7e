"""Sign-in with tokens of the users' own issuer, and roles of groups, without a restart of API servers."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from lab.shape import GATEWAY
from tests.lab_cluster import STATE, KubectlFailed, run_kubectl, wait_until
from tests.support import CLUSTER, deploy, deployed, host_of, settled

URL = f"https://{GATEWAY}:8443"
API_SERVER = "/opt/kubekeel/bin/crictl ps --quiet --name kube-apiserver"


class Issuer:
    """An OpenID issuer with only the pages that API servers read."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, self._key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(GATEWAY))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.authority = certificate.public_bytes(Encoding.PEM).decode()
        pair = folder / "pair.pem"
        pair.write_bytes(
            self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + self.authority.encode()
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        self.server = http.server.ThreadingHTTPServer((GATEWAY, 8443), self._handler())
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        point = self._key.public_key().public_numbers()
        key = {"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "1", "x": _number(point.x), "y": _number(point.y)}
        discovery = {"issuer": URL, "jwks_uri": f"{URL}/keys", "id_token_signing_alg_values_supported": ["ES256"]}
        pages = {"/.well-known/openid-configuration": discovery, "/keys": {"keys": [key]}}

        class Pages(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(pages[self.path]).encode())

            def log_message(self, *_: object) -> None:
                pass

        return Pages

    def token(self, name: str, *groups: str) -> str:
        """Return a token for one hour."""
        now = int(time.time())
        claims = {"iss": URL, "aud": "kubernetes", "sub": name, "groups": groups, "iat": now, "exp": now + 3600}
        content = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "ES256", "kid": "1"}, claims))
        numbers = decode_dss_signature(self._key.sign(content.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{content}.{_encoded(b''.join(number.to_bytes(32, 'big') for number in numbers))}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(number: int) -> str:
    return _encoded(number.to_bytes(32, "big"))


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    issuer = Issuer(tmp_path)
    threading.Thread(target=issuer.server.serve_forever, daemon=True).start()
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()


def kubectl_with_token(folder: Path, token: str, *arguments: str) -> str:
    """Run kubectl with a kubeconfig that has a token and no certificate, and return its output."""
    kubeconfig = yaml.safe_load((STATE / "admin.conf").read_text())
    for user in kubeconfig["users"]:
        user["user"] = {"token": token}
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(kubeconfig))
    return run_kubectl(*arguments, kubeconfig=file)


def api_server_containers() -> set[str]:
    return {host_of(master).check_output(API_SERVER) for master in CLUSTER.masters}


def authenticator(issuer: Issuer, **username: str) -> dict[str, object]:
    return {
        "issuer": {"url": URL, "audiences": ["kubernetes"], "certificateAuthority": issuer.authority},
        "claimMappings": {"username": username, "groups": {"claim": "groups", "prefix": "oidc:"}},
    }


def test_a_token_of_an_issuer_has_the_roles_of_its_groups_without_a_restart(issuer: Issuer, tmp_path: Path) -> None:
    before = api_server_containers()
    authentication = json.dumps([authenticator(issuer, claim="sub", prefix="")])
    settings = ("--data", f"authentication={authentication}", "--data", 'group_roles={"oidc:team": "view"}')
    try:
        deployed(*settings)
        jane = issuer.token("jane", "team")

        def signs_in() -> bool:
            return "jane" in kubectl_with_token(tmp_path, jane, "auth", "whoami")

        wait_until(signs_in, 150, "the API server takes tokens of the issuer")
        kubectl_with_token(tmp_path, jane, "get", "configmaps", "--all-namespaces")
        for token in (issuer.token("joe"), issuer.token("joe", "others")):
            with pytest.raises(KubectlFailed, match="Forbidden"):
                kubectl_with_token(tmp_path, token, "get", "configmaps", "--all-namespaces")
        for token in (
            issuer.token("system:admin"),
            issuer.token("kube-apiserver-kubelet-client"),
            f"{jane[:-8]}AAAAAAAA",
        ):
            with pytest.raises(KubectlFailed, match="Unauthorized"):
                kubectl_with_token(tmp_path, token, "auth", "whoami")
        assert deployed(*settings).changes == []
    finally:
        settled()
    assert api_server_containers() == before
    assert "oidc:team" not in run_kubectl("get", "clusterrolebindings", "-o", "wide")


def test_an_issuer_that_the_api_server_refuses_is_named_before_any_change(issuer: Issuer) -> None:
    wrong = json.dumps([authenticator(issuer, expression="claims.sub +")])
    run = deploy("--data", f"authentication={wrong}")
    assert run.status == 1
    assert "kube-apiserver refuses its settings" in run.output
    assert "claimMappings.username.expression" in run.output
    settled()
