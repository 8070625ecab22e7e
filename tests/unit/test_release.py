"""The catalogue is complete and fits the build modules in the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kubekeel.release import ARCHITECTURES, KUBERNETES_VERSIONS, BinaryImage, Component, release

MODULES = Path(__file__).parents[2] / "files" / "source"
EVERYWHERE = {
    "kubelet", "kube-proxy", "kubectl", "etcd", "etcdctl", "etcdutl", "containerd", "ctr",
    "containerd-shim-runc-v2", "runc", "bridge", "host-local", "loopback", "portmap", "flanneld", "crictl",
}  # fmt: skip

components = pytest.mark.parametrize(
    "component",
    [component for version in KUBERNETES_VERSIONS for component in release(version).components],
    ids=lambda component: f"{component.name}-{component.version}",
)


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_a_release_has_every_binary_a_node_runs(version: str) -> None:
    catalogue = release(version)
    for name in EVERYWHERE:
        assert catalogue.binary(name) in catalogue.component_of(name).binaries
    assert catalogue.component_of("kubelet").version == version


def test_an_unknown_version_is_not_in_the_catalogue() -> None:
    with pytest.raises(KeyError, match=r"v1\.0\.0"):
        release("v1.0.0")


@components
def test_each_component_has_a_module_that_pins_its_version_and_packages(component: Component) -> None:
    text = (MODULES / component.name / component.version / "go.mod").read_text()
    for binary in component.binaries:
        package = re.compile(rf"^(module|tool|)\s*{re.escape(binary.package)}$", re.MULTILINE)
        assert package.search(text), binary.package
    if component.name != "pause":
        assert f" {component.version}" in text


@components
def test_published_urls_are_complete_and_encrypted(component: Component) -> None:
    if not component.published:
        return
    for arch in ARCHITECTURES:
        for binary in component.binaries:
            for template in (component.published.url, component.published.checksums, binary.member):
                text = template.format(
                    version=component.version, bare=component.bare_version, arch=arch, name=binary.name
                )
                assert "{" not in text
            assert component.published.url.startswith("https://")
            assert component.published.checksums.startswith("https://")
            assert arch in component.published.url.format(
                version=component.version, bare=component.bare_version, arch=arch, name=binary.name
            )


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_image_is_made_from_a_binary_or_has_an_upstream_reference(version: str) -> None:
    catalogue = release(version)
    for image in catalogue.images:
        if not isinstance(image, BinaryImage):
            assert image.upstream
        elif not catalogue.component_of(image.name).published:
            assert image.upstream, f"{image.name} could not be had from upstream"


@pytest.mark.parametrize("component", release(KUBERNETES_VERSIONS[0]).components, ids=lambda component: component.name)
def test_the_stamps_of_a_component_match_its_version(component: Component) -> None:
    stamped = [value for name, value in component.stamps if name.lower().endswith("version")]
    assert bool(stamped) == bool(component.stamps)
    assert set(stamped) <= {component.version}
