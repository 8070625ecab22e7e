"""Versions of components: the supported ones, their source, and the list of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from kubekeel.artifacts import ArtifactError, Cache, Needs, Pins, supply
from kubekeel.artifacts.versions import available
from kubekeel.release import MINORS, chosen, release, unfit
from kubekeel.versions import Known, known, look, read, whole_look
from tests.clusters import cluster
from tests.web_server import listening

LISTED = "v1.34.9 v1.35.4 v1.37.2 v1.37.10 v1.37.9 v1.38.0 v1.37.0-rc.1"


class Proxy(BaseHTTPRequestHandler):
    """A Go module proxy that lists versions and has none of them."""

    def do_GET(self) -> None:
        found = self.path.endswith("/@v/list")
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(LISTED.replace(" ", "\n").encode() if found else b"not found")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with listening(Proxy) as url:
        monkeypatch.setenv("GOPROXY", f"{url},direct")
        yield


@pytest.mark.parametrize("minor", MINORS)
def test_any_patch_release_of_the_newest_minors_may_be_set(minor: str) -> None:
    assert release(f"v{minor}.77").component_of("kubelet").version == f"v{minor}.77"


def test_another_patch_release_of_a_component_is_used_everywhere() -> None:
    for name in chosen():
        ours = next(each for each in release("v1.37.2").components if each.name == name)
        version = f"v{ours.vouched[0]}.77"
        assert unfit(name, version) is None
        found = release("v1.37.2", {name: version} if name != "kubernetes" else {})
        assert name == "kubernetes" or next(each for each in found.components if each.name == name).version == version
    other = release("v1.37.2", {"metrics-server": "v0.9.5"})
    assert other.image("metrics-server").upstream.endswith("metrics-server:v0.9.5")
    assert dict(other.component_of("metrics-server").stamps)["k8s.io/component-base/version.gitVersion"] == "v0.9.5"
    assert cluster(versions={"containerd": "v2.4.3"}).release.component_of("ctr").version == "v2.4.3"


@pytest.mark.usefixtures("proxy")
def test_available_versions_are_the_supported_ones_newest_first() -> None:
    assert available(release("v1.37.2").component_of("kubelet")) == ("v1.37.10", "v1.37.9", "v1.37.2", "v1.35.4")


@pytest.mark.parametrize("address", ["off", "direct", "http://127.0.0.1:1"])
def test_an_unreachable_module_proxy_is_not_an_error(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("GOPROXY", address)
    assert available(release("v1.37.2").component_of("kubelet")) == ()


@pytest.mark.usefixtures("proxy")
def test_a_version_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as refused:
        supply(
            [Needs("amd64", frozenset({"kubelet"}), frozenset())],
            kubernetes_version="v1.36.99",
            source="source",
            mirror=None,
            pins=Pins(tmp_path / "lock"),
            cache=tmp_path / "cache",
        )
    assert refused.value.faults == (
        "kubernetes: has no version v1.36.99; take one of v1.37.10, v1.37.9, v1.37.2, v1.35.4",
    )


@pytest.mark.network
def test_a_version_without_a_shipped_module_is_built_in_a_new_pinned_one(tmp_path: Path) -> None:
    needs, lock = Needs("amd64", frozenset({"loopback"}), frozenset()), tmp_path / "lock"

    def get(cache: str) -> bytes:
        pins = Pins(lock)
        found = supply(
            [needs],
            kubernetes_version="v1.37.2",
            versions={"cni-plugins": "v1.9.0"},
            source="source",
            mirror=None,
            pins=pins,
            cache=tmp_path / cache,
        )
        pins.save(Cache(tmp_path / cache))
        return found.binary("loopback", "amd64").path.read_bytes()

    content = get("one")
    assert b"v1.9.0" in content
    pinned = json.loads(lock.read_text())["artifacts"]
    assert pinned.keys() == {"loopback v1.9.0 amd64 source", "modules of cni-plugins v1.9.0 amd64 source"}
    assert get("another") == content
    pinned["modules of cni-plugins v1.9.0 amd64 source"]["sha256"] = "0" * 64
    lock.write_text(json.dumps({"source": "source", "artifacts": pinned}))
    with pytest.raises(ArtifactError, match=r"modules of cni-plugins v1\.9\.0 amd64 source: is not what"):
        get("one")


def test_a_host_without_a_cluster_runs_nothing() -> None:
    done = subprocess.run(["sh", "-c", f"{{ {look()} }} 2>/dev/null"], capture_output=True, text=True, check=False)
    assert read(done.stdout.splitlines()) == {}


CONTAINERS = """\
CONTAINER    IMAGE                              RUNTIME
1f           kubekeel.local/coredns:v1.13.1     io.containerd.runc.v2
2e           kubekeel.local/kube-apiserver:v1.37.2    io.containerd.runc.v2
3d           registry.k8s.io/pause:3.10.2       io.containerd.runc.v2
"""


def test_images_that_are_only_stored_do_not_run(tmp_path: Path) -> None:
    (tmp_path / "containers").write_text(CONTAINERS)
    ctr = tmp_path / "ctr"
    ctr.write_text(f'#!/bin/sh\n[ "$4" != ls ] || [ "$3" != containers ] || cat {tmp_path}/containers\n')
    ctr.chmod(0o755)
    script = whole_look().replace("/opt/kubekeel/bin/ctr", str(ctr))
    done = subprocess.run(["sh", "-c", f"{{ {script} }} 2>/dev/null"], capture_output=True, text=True, check=False)
    assert read(done.stdout.splitlines()) == {"coredns": "v1.13.1"}


def test_the_output_of_a_look_is_read() -> None:
    printed = ["runs etcd v3.7.3", "kubelet v1.37.2", "runs kube-apiserver v1.36.3", "runs containerd v", ""]
    assert read(printed) == {"etcd": "v3.7.3", "kubelet": "v1.37.2", "kube-apiserver": "v1.36.3", "containerd": ""}


def test_hosts_are_named_by_the_versions_that_they_run() -> None:
    running = {"m": {"kubelet": "v1.36.3", "kube-apiserver": "v1.37.2"}, "a": {"kubelet": "v1.36.3"}, "b": {}}
    components = [release("v1.37.2").component_of("kubelet")]
    assert list(known(components, running, {"kubernetes": ("v1.37.2",)})) == [
        Known("kubernetes", "v1.37.2", {"v1.36.3": ("m", "a"), "v1.37.2": ("m",)}, ("v1.37.2",))
    ]
