"""Keys of clusters for tests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from cryptography import x509

from kubekeel.cluster import Cluster, Node, load
from kubekeel.pki import Pki, Step
from tests.settings import SETTINGS


def saved(state_dir: Path, cluster: Cluster, now: datetime | None = None, nodes: Iterable[Node] | None = None) -> Pki:
    """Return the PKI after a deploy: all of it saved in the state directory."""
    pki = Pki.open(state_dir, cluster, now, nodes)
    pki.save()
    return pki


def rotated(
    state_dir: Path, cluster: Cluster, *steps: Step, roots: Iterable[str] = ("encryption",), now: datetime | None = None
) -> Pki:
    """Return the PKI after finished steps of a rotation, or after all of them."""
    pki = Pki.open(state_dir, cluster, now)
    for step in steps or Step:
        pki = pki.rotated(roots, step)
        pki.save()
        pki.retire()
    return pki


EXTRA = ("api.example.org", "203.0.113.7")
CLUSTER = load(
    {"etcd": ["m"], "masters": ["m"], "minions": ["w"]},
    {"m": {"address": "192.0.2.1"}, "w": {"address": "192.0.2.2"}},
    {**SETTINGS, "cluster_name": "test", "cluster_domain": "cluster.test", "extra_api_names": EXTRA},
)


def certificate_of(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)
