"""A real pyinfra run over a real SSH connection, whose host fetches its artifacts from a real web server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from bench.record import HostCost, Record
from kubekeel.artifacts import GZIP, Artifact, Cache, Packed
from kubekeel.delivery import place, publish
from tests.flow.fake import PROJECT
from tests.web_server import WebServer, serving

CONTENT = b"".join(sha256(str(number).encode()).digest() for number in range(30_000))
INVENTORY = """
_ssh = {{"ssh_hostname": "127.0.0.1", "ssh_port": {port}, "ssh_user": "root", "ssh_password": "x"}}
hosts = [("a", {{**_ssh, "ssh_strict_host_key_checking": "no", "ssh_known_hosts_file": "{folder}/known_hosts"}})]
"""
DEPLOY = """
from pathlib import Path

from kubekeel.artifacts import Artifact
from kubekeel.delivery import Server
from operations import store

store.STORE, store.INCOMING = "{folder}/store", "{folder}/incoming"
artifact = Artifact("etcd", "v1", "{sha256}", Path("{path}"), lambda _: Path("{packed}"))
store.store(name="binaries", artifacts=[artifact], server=Server("{url}"))
"""


@dataclass(frozen=True)
class Home:
    """A host's folders, and the run that fills them."""

    folder: Path
    artifact: Artifact
    packed: Packed
    site: WebServer

    def run(self) -> tuple[subprocess.CompletedProcess[str], HostCost]:
        record = self.folder / "record.json"
        command = [sys.executable, "-m", "bench.recorder", str(record), "-y", "hosts.py", "fetch.py"]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PYINFRA_PROGRESS": "off"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        return done, Record.read(record).hosts["a"]

    def installed(self) -> bytes:
        return (self.folder / "store" / self.artifact.sha256 / "etcd").read_bytes()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    (tmp_path / "incoming").mkdir()
    cache, binary = Cache(tmp_path / "cache"), tmp_path / "etcd"
    binary.write_bytes(CONTENT)
    address = cache.keep("etcd", binary)
    artifact = Artifact("etcd", "v1", address, cache.object(address), partial(cache.packed, address))
    packed = artifact.packed(GZIP)
    publish([packed], tmp_path / "served")
    sshd = subprocess.Popen(
        [sys.executable, "-m", "tests.flow.ssh_server"],
        cwd=PROJECT, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert sshd.stdout
    (tmp_path / "hosts.py").write_text(INVENTORY.format(port=sshd.stdout.readline().strip(), folder=tmp_path))
    with serving(tmp_path / "served") as site:
        (tmp_path / "fetch.py").write_text(
            DEPLOY.format(folder=tmp_path, sha256=artifact.sha256, path=artifact.path, packed=packed.file, url=site.url)
        )
        yield Home(tmp_path, artifact, packed, site)
    os.killpg(sshd.pid, signal.SIGKILL)
    sshd.wait()


def test_a_run_sends_kilobytes_the_web_server_the_rest_and_a_second_run_nothing(home: Home) -> None:
    done, cost = home.run()
    assert done.returncode == 0, done.stderr
    assert home.installed() == CONTENT
    assert home.site.sent == home.packed.file.stat().st_size > 900_000
    assert cost.sent < 20_000
    again, cost = home.run()
    assert again.returncode == 0, again.stderr
    assert cost.changes == 0
    assert len(home.site.requests) == 1


def test_a_run_names_a_file_that_the_web_server_does_not_have(home: Home) -> None:
    (home.site.root / place(home.packed)).unlink()
    done, _ = home.run()
    assert done.returncode == 1
    fault = f"a: artifact etcd.gz: could not be fetched from {home.site.url}/{place(home.packed)} (curl: (22) "
    assert fault in done.stderr
    assert not (home.folder / "store").exists()
