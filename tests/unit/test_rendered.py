"""The files in tests/rendered match the templates, pass the CIS benchmark, and keep promises of docs/security.md."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from kubekeel.certificates import names_of
from kubekeel.cis import CONTROLS, Evidence, hosts
from kubekeel.cis.described import evidence
from kubekeel.files import File
from kubekeel.parts import described, placeholder
from tests.example import RENDERED, clusters, files, trees

AGAIN = "review the difference, then write them again: python -m tests.example"
# With `metrics`, controller manager and scheduler listen on the host's address.
OF_METRICS = ("1.3.7", "1.4.2")
SCORED = [control for control in CONTROLS if control.scored and control.scope != "cluster"]


def test_tests_rendered_has_the_files_of_every_host_and_no_others() -> None:
    there = {str(path.relative_to(RENDERED)) for path in RENDERED.rglob("*") if path.is_file()}
    assert there == files().keys(), AGAIN


@pytest.mark.parametrize("name", files())
def test_a_rendered_file_equals_the_one_in_tests_rendered(name: str) -> None:
    assert (RENDERED / name).read_text() == files()[name], AGAIN


@pytest.mark.parametrize("control", SCORED, ids=lambda control: control.id)
def test_the_files_of_every_host_pass_the_scored_control(control: Any) -> None:
    names = [name for cluster in clusters() for name in hosts(control.scope, cluster)]
    assert names
    faults = {name for name in names if control.check(evidence_of(name))}
    assert faults == ({"optional"} if control.id in OF_METRICS else set())


@cache
def evidence_of(host: str) -> Evidence:
    return evidence(trees()[host])


def test_the_files_of_a_master_that_takes_no_pods_pass_every_scored_control() -> None:
    cluster = replace(clusters()[0], register_masters=False)
    (master,) = (node for node in cluster.nodes if "masters" in node.roles)
    seen = evidence(described(placeholder(master, cluster)))
    checked = [control for control in SCORED if master.name in hosts(control.scope, cluster)]
    assert {control.id: fault for control in checked if (fault := control.check(seen))} == {}


# Promises of docs/security.md that follow from files.


def every_file() -> list[tuple[str, File]]:
    """Return all files of all hosts of the example, by host and path."""
    return [
        (f"{host}{path}", each)
        for host, tree in trees().items()
        for path, each in tree.items()
        if isinstance(each, File)
    ]


def certificates(file: File) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(file.content) if b"-----BEGIN CERTIFICATE" in file.content else []


def test_only_its_owner_can_read_a_file_with_a_key() -> None:
    secret = [
        (path, file.mode)
        for path, file in every_file()
        if re.search(rb"PRIVATE KEY-|(secret|tls\.key): \S{20}", file.content)
    ]
    assert len(secret) > 50
    assert [path for path, mode in secret if mode & 0o077] == []


def test_no_host_has_the_private_key_of_an_authority() -> None:
    private = [load_pem_private_key(file.content, None) for path, file in every_file() if path.endswith(".key")]
    own = {key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in private}
    known = {each for _, file in every_file() for each in certificates(file)}
    authorities = [each for each in known if each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca]
    assert len(authorities) > 8
    public = {each.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for each in authorities}
    assert own
    assert not own & public


def test_no_certificate_on_a_host_has_the_group_system_masters() -> None:
    found = [(path, names_of(each)[1]) for path, file in every_file() for each in certificates(file)]
    assert any("kubekeel:cluster-admins" in groups for _, groups in found)
    assert [path for path, groups in found if "system:masters" in groups] == []


def test_the_pods_of_add_ons_are_restricted_and_cannot_write_their_files() -> None:
    texts = {path: file.content.decode() for path, file in every_file() if "/etc/kubernetes/addons/" in path}
    documents = [(path, each) for path, text in texts.items() for each in yaml.safe_load_all(text) if each]
    pods = [(path, each["spec"]["template"]["spec"]) for path, each in documents if each["kind"] == "Deployment"]
    assert len({path.rpartition("/")[2] for path, _ in pods}) == 3
    for path, pod in pods:
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, path
        for container in pod["containers"]:
            context = {**pod["securityContext"], **container["securityContext"]}
            assert context["runAsNonRoot"], path
            assert context["readOnlyRootFilesystem"], path
            assert not context["allowPrivilegeEscalation"], path
            assert context["capabilities"] == {"drop": ["ALL"]}, path
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}, path
