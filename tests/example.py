"""The files that an example cluster's hosts get: `python -m tests.example` writes them to tests/rendered.

Each host has a folder there, so a changed template or flag shows as a changed line in a review.
Words replace keys and digests, which differ between clusters; certificates are shown by their fields.
"""

from __future__ import annotations

import re
import runpy
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from kubekeel import parts, render
from kubekeel.cluster import SETTINGS, Cluster, load
from kubekeel.files import Absent, Directory, Entry, File, Link, Tree
from kubekeel.machine import Machine
from kubekeel.membership import FOUNDING
from kubekeel.pki import Pki
from kubekeel.render import PROJECT, Target
from tests.hosts import machine as base_machine

RENDERED = PROJECT / "tests/rendered"
LIST = "FILES"
"""The file that lists a host's paths with their modes and owners."""

_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----\n.*?-----END \1-----", re.DOTALL)
_DIGEST = re.compile(rb"\b[0-9a-f]{16,64}\b")
_SECRET = re.compile(rb"(?<=secret: )\S+|(?<=tls\.crt: )\S+|(?<=tls\.key: )\S+|(?<=caBundle: )\S+")


# Settings whose files the project's own settings do not make.
OPTIONS: dict[str, object] = {
    "api_vip": "192.0.2.100",
    "authentication": [
        {
            "issuer": {"url": "https://issuer.example", "audiences": ["kubernetes"]},
            "claimMappings": {"username": {"claim": "email", "prefix": "oidc:"}},
        }
    ],
    "dashboard": "headlamp",
    "group_roles": {"developers": ["view"]},
    "http_proxy": "http://192.0.2.101:3128",
    "metrics": True,
    "network_policy": "kube-network-policies",
    "registries": {"docker.io": {"mirrors": ["https://192.0.2.102:5000"]}, "registry.example": {"plain_http": True}},
}


@cache
def clusters() -> tuple[Cluster, Cluster, Cluster]:
    """Return a cluster with one host per role, and one of a single host, with the project's settings.

    The third one is a single host with all options.
    """
    defaults = runpy.run_path(str(PROJECT / "group_data/all.py"))
    settings = {name: defaults[name] for name in SETTINGS if name in defaults} | {
        "artifact_source": "source",
        "dashboard": "kube-web-view",
    }
    hosts = {name: {"address": f"192.0.2.{number}"} for number, name in enumerate(("etcd", "master", "minion"), 1)}
    roles = {"etcd": ["etcd"], "masters": ["master"], "minions": ["minion"]}
    return (
        load(roles, hosts, settings),
        load({role: ["all"] for role in roles}, {"all": {"address": "192.0.2.10"}}, settings),
        load({role: ["optional"] for role in roles}, {"optional": {"address": "192.0.2.20"}}, settings | OPTIONS),
    )


def machine(name: str) -> Machine:
    """Return a Debian machine with its own kernel."""
    return replace(base_machine(name), resolv_conf="/run/systemd/resolve/resolv.conf", memory=3900)


@cache
def trees() -> Mapping[str, Tree]:
    """Return the desired files of each host of the example, by host name."""
    found: dict[str, dict[str, Entry]] = {}
    for cluster in clusters():
        with TemporaryDirectory() as state:
            pki = Pki.open(Path(state), cluster)
            if cluster == clusters()[-1]:
                pki = pki.without_node("optional")
        for node in cluster.nodes:
            target = Target(node, machine(node.name), cluster, pki, _supply())
            found[node.name] = dict(parts.described(target))
            if "masters" in node.roles:
                manifests = {**render.addons(target), **render.api_revocations(pki)}.items()
                found[node.name] |= {f"/etc/kubernetes/addons/{name}": File(text) for name, text in manifests}
            if "etcd" in node.roles:
                first_start = render.etcd_first_start(cluster, FOUNDING, cluster.etcd_initial_cluster)
                found[node.name]["/etc/etcd/first-start.conf"] = first_start
                # Not a file there, but a key in etcd.
                found[node.name]["/etcd/coreos.com/network/config"] = File(
                    render.etcd_content(cluster).network.encode()
                )
    return found


@cache
def files() -> dict[str, str]:
    """Return the desired content of tests/rendered, by path."""
    found = {}
    for host, tree in trees().items():
        found[f"{host}/{LIST}"] = "".join(sorted(f"{path} {_entry(each)}\n" for path, each in tree.items()))
        for path, each in tree.items():
            if isinstance(each, File):
                # Lists of revoked and of issued certificates have serial numbers, which chance makes.
                found[f"{host}{path}"] = "" if path.endswith((".crl", "/issued")) else _masked(each.content)
    return found


def write() -> None:
    found = files()
    shutil.rmtree(RENDERED, ignore_errors=True)
    for name, text in found.items():
        path = RENDERED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _supply() -> Any:
    return SimpleNamespace(
        binary=lambda name, arch: SimpleNamespace(sha256=f"SHA256-of-{name}-for-{arch}"),
        image=lambda name, arch: SimpleNamespace(reference=f"example/{name}:{arch}", digest="sha256:DIGEST"),
    )


def _entry(entry: Entry) -> str:
    match entry:
        case File():
            return f"{entry.mode:04o} {entry.owner}{' hot' if entry.hot else ''}"
        case Directory():
            return f"{entry.mode:04o} {entry.owner} folder"
        case Link():
            return f"-> {entry.target}"
        case Absent():
            return "absent"


def _masked(content: bytes) -> str:
    masked = _PEM.sub(_terms, content)
    return _SECRET.sub(b"(a key)", _DIGEST.sub(b"(a digest)", masked)).decode()


def _terms(pem: re.Match[bytes]) -> bytes:
    """Return a certificate's fields, line by line; for a key, only its type."""
    if pem[1] != b"CERTIFICATE":
        return f"({pem[1].decode().lower()})".encode()
    certificate = x509.load_pem_x509_certificate(pem[0])
    return "\n".join(["(certificate)", *_lines(certificate)]).encode()


def _lines(certificate: x509.Certificate) -> Iterator[str]:
    yield f"subject: {certificate.subject.rfc4514_string()}"
    yield f"issuer: {certificate.issuer.rfc4514_string()}"
    yield f"days: {(certificate.not_valid_after_utc - certificate.not_valid_before_utc).days}"
    identifiers = (ExtensionOID.SUBJECT_KEY_IDENTIFIER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    for extension in certificate.extensions:
        if extension.oid not in identifiers:
            yield f"{'critical ' if extension.critical else ''}{_extension(extension.value)}"


def _extension(value: x509.ExtensionType) -> str:
    match value:
        case x509.SubjectAlternativeName():
            return f"names: {', '.join(str(each.value) for each in value)}"
        case x509.ExtendedKeyUsage():
            return f"for: {', '.join(each._name for each in value)}"
        case x509.KeyUsage():
            names = ("digital_signature", "key_encipherment", "key_cert_sign", "crl_sign")
            return f"usage: {', '.join(name for name in names if getattr(value, name))}"
        case x509.BasicConstraints():
            return f"authority: {value.ca}, path length {value.path_length}"
    return str(value)


if __name__ == "__main__":
    write()
