"""Names and usages of every certificate on every node."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubekeel.pki import Pki
from tests.lab_cluster import STATE

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
LOOPBACK = ["127.0.0.1", "localhost"]

# path, role of its nodes, CN, O, usages, SANs in addition to the node's name and address (None: no SANs)
K8S = "/etc/kubernetes/pki"
SCHEDULER, MANAGER = "/etc/kubernetes/kube-scheduler", "/etc/kubernetes/kube-controller-manager"
TABLE = [
    ("/etc/etcd/pki/server.crt", "etcd", "{name}", "", {SERVER}, LOOPBACK),
    ("/etc/etcd/pki/peer.crt", "etcd", "etcd-peer", "", {SERVER, CLIENT}, LOOPBACK),
    ("/etc/etcd/pki/root.crt", "etcd", "root", "", {CLIENT}, None),
    ("/etc/flannel/pki/etcd-client.crt", "pods", "flannel:{name}", "", {CLIENT}, None),
    (f"{K8S}/kubelet-client.crt", "pods", "system:node:{name}", "system:nodes", {CLIENT}, None),
    (f"{K8S}/kubelet-server.crt", "pods", "system:node:{name}", "system:nodes", {SERVER}, []),
    (f"{K8S}/kube-proxy.crt", "pods", "system:kube-proxy", "", {CLIENT}, None),
    (f"{K8S}/apiserver-etcd-client.crt", "masters", "kube-apiserver", "", {CLIENT}, None),
    (f"{K8S}/apiserver-kubelet-client.crt", "masters", "kube-apiserver-kubelet-client", "", {CLIENT}, None),
    (f"{K8S}/front-proxy-client.crt", "masters", "front-proxy-client", "", {CLIENT}, None),
    (f"{MANAGER}/kube-controller-manager.crt", "masters", "system:kube-controller-manager", "", {CLIENT}, None),
    (f"{SCHEDULER}/kube-scheduler.crt", "masters", "system:kube-scheduler", "", {CLIENT}, None),
    (f"{K8S}/admin.crt", "masters", "kubernetes-admin", "{admins}", {CLIENT}, None),
    (
        f"{K8S}/apiserver.crt",
        "masters",
        "kube-apiserver",
        "",
        {SERVER},
        [*LOOPBACK, "{api}", "kubernetes", *(f"kubernetes.default{rest}" for rest in ("", ".svc", ".svc.{domain}"))],
    ),
]  # fmt: skip


def names(certificate: x509.Certificate) -> set[str] | None:
    try:
        sans = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    return {str(san.value) for san in sans}


def subject_part(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    return "".join(str(part.value) for part in certificate.subject.get_attributes_for_oid(oid))


@pytest.mark.parametrize(("path", "role", "cn", "org", "usages", "sans"), TABLE, ids=[row[0] for row in TABLE])
def test_a_certificate_names_its_holder_and_nobody_else(node, on, cluster, path, role, cn, org, usages, sans) -> None:
    roles = {"masters", "minions"} if role == "pods" else {role}
    if not node.roles & roles:
        assert not on(node).file(path).exists
        return
    certificate = x509.load_pem_x509_certificate(on(node).file(path).content)
    assert subject_part(certificate, NameOID.COMMON_NAME) == cn.format(name=node.name)
    group = Pki.open(STATE, cluster, nodes=()).revocations.administrators_group
    assert subject_part(certificate, NameOID.ORGANIZATION_NAME) == org.format(admins=group)
    assert set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == usages
    if sans is None:
        assert names(certificate) is None
    else:
        expected = {san.format(api=cluster.api_service_address, domain=cluster.cluster_domain) for san in sans}
        assert names(certificate) == {node.name, node.address, *expected}


def test_no_authoritys_key_and_no_other_nodes_key_is_on_a_node(node, on) -> None:
    found = on(node).check_output(
        "find / -xdev \\( -path /proc -o -path /usr -o -path /var/lib/containerd -o -path /var/lib/kubelet/pods \\)"
        " -prune -o -type f -name '*.key' -print"
    )
    assert found
    for path in found.split():
        read = on(node).run(f"cat {path.removesuffix('.key')}.crt")
        if path.rpartition("/")[2] == "sa.key":
            continue
        assert read.rc == 0, path
        certificate = x509.load_pem_x509_certificate(read.stdout.encode())
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca, path
        sans = names(certificate)
        assert sans is None or node.name in sans, path
