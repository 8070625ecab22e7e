"""The free space that a host needs for the artifacts of a run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from kubekeel.artifacts import Artifact, Image, Supply
from kubekeel.preflight import faults
from kubekeel.replaced import Held
from kubekeel.room import arriving
from tests.hosts import cluster, fit, looks

MIB = 1 << 20


@pytest.fixture
def supply(tmp_path: Path) -> Supply:
    """Return a supply in which each binary and image has 40 MiB, and its name as digest."""
    file = tmp_path / "file"
    with file.open("wb") as sparse:
        sparse.truncate(40 * MIB)

    class Named(defaultdict[tuple[str, str], object]):
        def __missing__(self, key: tuple[str, str]) -> object:
            name = key[0]
            return self.default_factory(name) if self.default_factory else None

    binaries = Named(lambda name="": Artifact(name, "v2", "new", file, lambda _: file))
    images = Named(lambda name="": Image(name, f"{name}:v2", "", file, "", lambda _: file))
    return Supply("any", binaries=binaries, images=images)  # type: ignore[arg-type]


OTHERS = frozenset(
    f"new/{name}"
    for name in (
        *("containerd", "ctr", "containerd-shim-runc-v2", "runc", "crictl", "bridge", "host-local", "loopback"),
        *("portmap", "flanneld", "etcd", "etcdctl"),
    )
)
HELD = Held(
    stored=OTHERS | {"old/kubelet", "old/kubectl", "old/kube-proxy"},
    pinned=frozenset({"pause:v2", "metrics-server:v2", "coredns:v1"}),
)


def test_a_new_version_needs_space_only_for_missing_artifacts(supply: Supply) -> None:
    assert arriving(cluster().node("b"), cluster(), supply, HELD) == {
        "/opt/kubekeel": 3 * 40,
        "/var/lib/containerd": 2 * 40,
    }
    settled = Held(stored=OTHERS | {"new/kubelet", "new/kubectl", "new/kube-proxy"},
                   pinned=HELD.pinned | {"coredns:v2"})  # fmt: skip
    assert arriving(cluster().node("b"), cluster(), supply, settled) == {"/opt/kubekeel": 0, "/var/lib/containerd": 0}


@pytest.mark.parametrize(
    ("free", "found"),
    [
        ({"/opt/kubekeel": 376, "/var/lib/containerd": 336}, []),
        (
            {"/opt/kubekeel": 375, "/var/lib/containerd": 336},
            ["b: has less than 376 MiB free in /opt/kubekeel (375 MiB); make room"],
        ),
        (
            {"/opt/kubekeel": 376, "/var/lib/containerd": 335},
            ["b: has less than 336 MiB free in /var/lib/containerd (335 MiB); make room"],
        ),
    ],
)
def test_a_disk_without_that_space_is_refused(free: dict[str, int], found: list[str]) -> None:
    host = replace(fit("b"), installed=True, disks=free)
    assert faults(cluster(), looks(b=host), {"b": {"/opt/kubekeel": 120, "/var/lib/containerd": 80}}) == found
