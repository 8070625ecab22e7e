"""The binaries and images that a deploy deletes on a host, and those that it never does."""

from __future__ import annotations

from kubekeel.replaced import Held, Replaced, replaced

VERSION = "v1.37.2"
OURS, OLD = "kubekeel.local/kube-apiserver:v1.37.2", "kubekeel.local/kube-apiserver:v1.36.3"


def test_artifacts_of_another_version_are_deleted_and_desired_ones_stay() -> None:
    held = Held(stored=frozenset({"1/kubelet", "2/kubelet"}), pinned=frozenset({OURS, OLD}))
    assert replaced(held, ["2/kubelet"], [OURS], VERSION) == Replaced(("1/kubelet",), (OLD,))
    settled = Held(stored=frozenset({"2/kubelet"}), pinned=frozenset({OURS}))
    assert replaced(settled, ["2/kubelet"], [OURS], VERSION) == Replaced((), ())


def test_artifacts_of_a_former_role_are_deleted() -> None:
    held = Held(stored=frozenset({"1/etcdutl"}), pinned=frozenset({OURS, "registry.k8s.io/pause:3.9"}))
    assert replaced(held, [], [], VERSION) == Replaced(("1/etcdutl",), (OURS, "registry.k8s.io/pause:3.9"))


def test_a_shim_stays_as_long_as_it_has_a_pod() -> None:
    shim = "1/containerd-shim-runc-v2"
    held = Held(stored=frozenset({shim, "1/containerd"}), running=frozenset({shim, "1/containerd"}))
    assert replaced(held, [], [], VERSION) == Replaced(("1/containerd",), ())


def test_images_that_users_pinned_stay() -> None:
    theirs = {"docker.io/library/postgres:17", "registry.k8s.io/ingress-nginx/controller:v1.9", "example/pause:1"}
    assert replaced(Held(pinned=frozenset(theirs)), [], [], VERSION) == Replaced((), ())
