"""Image pulls from a mirror with TLS and a password that bypass the proxy, and images from users' archives."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.shape import GATEWAY
from run.inventory import open_inventory, supply_of
from tests.clones import download
from tests.lab_cluster import wait_until
from tests.registry import hashed, push, renamed
from tests.support import CLUSTER, INVENTORY, deployed, host_of, run_kubectl, settled

MINION = CLUSTER.minions[0]
REGISTRY = f"{GATEWAY}:5443"
PASSWORD = "correct horse"
NAME = "docker.io/library/only-the-mirror-has-it:v1"
OWN = "site.example/own:v1"


@dataclass(frozen=True)
class Mirror:
    """A running docker-registry of Debian; `folder` holds its certificate and its password."""

    folder: Path


def run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    folder = tmp_path_factory.mktemp("mirror")
    download(folder, "docker-registry")
    run(folder, "sh", "-c", "dpkg-deb -x docker-registry*.deb .")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out ca.crt -days 2"
    names = f"-subj /CN=mirror -addext subjectAltName=IP:{GATEWAY}"
    run(folder, *f"openssl req -x509 {key} {names}".split())
    (folder / "htpasswd").write_text(f"kube:{hashed(PASSWORD)}\n")
    (folder / "password").write_text(f"{PASSWORD}\n")
    configuration = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "store")}},
        "http": {"addr": REGISTRY, "tls": {"certificate": str(folder / "ca.crt"), "key": str(folder / "key.pem")}},
        "auth": {"htpasswd": {"realm": "mirror", "path": str(folder / "htpasswd")}},
    }
    (folder / "config.yml").write_text(json.dumps(configuration))
    with (folder / "log").open("w") as log:
        command = [str(folder / "usr/bin/docker-registry"), "serve", str(folder / "config.yml")]
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(_answers, 30, "the mirror answers")
            yield Mirror(folder)
        finally:
            server.terminate()
            server.wait()


def _answers() -> bool:
    try:
        return httpx.get(f"https://{REGISTRY}/v2/", verify=False, trust_env=False).status_code == 401
    except httpx.TransportError:
        return False


def pod(name: str, image: str, pull: str) -> dict[str, Any]:
    container = {"name": "pause", "image": image, "imagePullPolicy": pull}
    spec = {"nodeName": MINION.name, "containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_pods_start_from_images_of_a_mirror_and_of_users_archives(
    mirror: Mirror, namespace: str, tmp_path: Path
) -> None:
    pause = supply_of(open_inventory(INVENTORY)).image("pause", MINION.arch).archive
    mirrored = renamed(pause, tmp_path / "mirrored.tar", NAME)
    push(REGISTRY, mirror.folder / "ca.crt", ("kube", PASSWORD), "library/only-the-mirror-has-it", mirrored)
    renamed(pause, tmp_path / "own.tar", OWN)
    registries = {
        "docker.io": {"mirrors": [f"https://{REGISTRY}"]},
        REGISTRY: {"ca": f"{mirror.folder}/ca.crt", "username": "kube", "password_file": f"{mirror.folder}/password"},
    }
    before = containerd_pid()
    values = [("registries", json.dumps(registries)), ("images", json.dumps([f"{tmp_path}/own.tar"]))]
    settings = [word for name, value in values for word in ("--data", f"{name}={value}")]
    # Nothing listens at the proxy's address, so pulls from the mirror must bypass it.
    proxied = [*settings, "--data", "https_proxy=http://192.0.2.1:3128", "--data", f"no_proxy={GATEWAY}"]
    try:
        first = deployed("-vv", *settings)
        assert containerd_pid() == before
        assert PASSWORD not in first.output
        run_kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(pod("own", OWN, "Never")))
        deployed(*proxied)
        run_kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(pod("mirrored", NAME, "Always")))
        run_kubectl("-n", namespace, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=120s")
        environment = f"tr '\\0' '\\n' </proc/{containerd_pid()}/environ"
        assert "HTTPS_PROXY=http://192.0.2.1:3128" in host_of(MINION).check_output(environment)
        hosts = f"/etc/containerd/certs.d/{REGISTRY}/hosts.toml"
        assert host_of(MINION).check_output(f"stat -c '%a %U' {hosts}") == "600 root"
        assert deployed(*proxied).changes == []
    finally:
        run_kubectl("-n", namespace, "delete", "pod", "--all", "--wait=true")
        settled()
        for node in CLUSTER.nodes:
            host_of(node).run(f"crictl rmi {OWN} {NAME}")
    assert host_of(MINION).run("ls -A /etc/containerd/certs.d").stdout == ""


def containerd_pid() -> str:
    return host_of(MINION).check_output("systemctl show -p MainPID --value containerd")
