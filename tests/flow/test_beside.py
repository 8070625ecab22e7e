"""Files that come to a new host over a real connection, beside the operations of its run."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from kubekeel.artifacts import GZIP, Artifact
from kubekeel.delivery import publish
from tests.flow.fake import CONFIG, INVENTORY, PROJECT, PYINFRA, environment, wait_until
from tests.web_server import serving

HOSTS = """
etcd = masters = [_host("m", 1)]
minions = [_ssh("a", 2, {port})]
"""
# An operation of m follows the beginning, and then those of a that need the binaries.
OWN = """
from pathlib import Path

import gevent
from pyinfra import host
from pyinfra.operations import python, server

from kubekeel.artifacts import Artifact
from kubekeel.delivery import Server
from kubekeel.files import Link
from operations import converge, store

home, url = Path("{home}"), "{url}"
store.STORE, store.INCOMING, converge.BIN = f"{{home}}/store", f"{{home}}/incoming", f"{{home}}/bin"
binaries = [
    Artifact(name, "v1", digest, Path("unpacked"), lambda _, file=file: Path(file)) for name, digest, file in {binaries}
]


def link(name):
    return {{f"{{home}}/bin/{{name}}": Link(f"../store/{{name}}")}}


if host.name == "a":
    store.store(
        name="install binaries",
        artifacts=binaries,
        server=Server(url) if url else None,
        beside=["etcd", "kubelet", "runc"],
    )
if host.name != "a":
    {of_m}
if host.name == "a":
    converge.converge(name="link etcd", files=link("etcd"))
if host.name == "a":
    server.shell(name="start etcd", commands=[f"ls {{home}}/store/* >{{home}}/started; touch {{home}}/go"])
if host.name == "a":
    converge.converge(name="link kubelet", files=link("kubelet"))
if host.name == "a":
    converge.converge(name="link runc", files=link("runc"))
"""
NOTHING = "pass"
SLEEP = 'python.call(name="sleep", function=gevent.sleep, seconds=1000)'
FAIL = """

    def fail(state, host):
        while not (home / "mark").exists():
            gevent.sleep(0.1)
        return False

    python.call(name="fail", function=fail)
"""
# kubelet does not finish to arrive until the file `go` is there.
GUNZIP = """#!/bin/sh
case $* in
  *kubelet.gz)
    touch {home}/mark
    for _ in $(seq 600); do [ ! -e {home}/go ] || break; sleep 0.1; done
    [ -e {home}/go ] || exit 1
    ;;
esac
exec {gunzip} "$@"
"""


@dataclass(frozen=True)
class Run:
    """A host's folder, its SSH server's port, and the three binaries that it lacks."""

    home: Path
    binaries: list[Artifact]

    def start(self, of_m: str = NOTHING, url: str = "", *options: str) -> subprocess.Popen[str]:
        rows = [(each.name, each.sha256, str(each.packed(GZIP).file)) for each in self.binaries]
        (self.home / "own.py").write_text(OWN.format(home=self.home, url=url, binaries=rows, of_m=of_m))
        files = ("--config", self.home / "config.py", self.home / "hosts.py", self.home / "own.py")
        return subprocess.Popen(
            [*PYINFRA, *(options or ["-y"]), *map(str, files), "--data", "artifact_source=source"],
            cwd=PROJECT, env=environment(self.home), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def stored(self) -> set[str]:
        return {file.name for file in (self.home / "store").rglob("*") if file.is_file()}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    for name in ("incoming", "tools", "packed"):
        (tmp_path / name).mkdir()
    gunzip = tmp_path / "tools/gunzip"
    found = subprocess.run(["sh", "-c", "command -v gunzip"], capture_output=True, text=True, check=True).stdout.strip()
    gunzip.write_text(GUNZIP.format(home=tmp_path, gunzip=found))
    gunzip.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.flow.ssh_server"],
        cwd=PROJECT, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PATH": f"{gunzip.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert server.stdout
    (tmp_path / "hosts.py").write_text(INVENTORY + HOSTS.format(port=server.stdout.readline().strip()))
    (tmp_path / "config.py").write_text(f"{CONFIG}\nlock.LEASE = {str(tmp_path / 'run/lease')!r}\n")
    yield Run(tmp_path, [binary(tmp_path, name) for name in ("etcd", "kubelet", "runc")])
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def binary(home: Path, name: str) -> Artifact:
    packed = gzip.compress(name.encode(), mtime=0)
    file = home / "packed" / sha256(packed).hexdigest()
    file.write_bytes(packed)
    return Artifact(name, "v1", sha256(name.encode()).hexdigest(), Path("unpacked"), lambda _: file)


@pytest.mark.parametrize("delivery", ["push", "pull"])
def test_an_operation_runs_once_its_own_binary_is_there(run: Run, delivery: str) -> None:
    publish([each.packed(GZIP) for each in run.binaries], run.home / "served")
    with serving(run.home / "served") as site:
        process = run.start(url=site.url if delivery == "pull" else "")
        _, output = process.communicate(timeout=120)
        assert len(site.requests) == (3 if delivery == "pull" else 0)
    assert process.returncode == 0, output
    assert run.stored() == {"etcd", "kubelet", "runc"}
    there = (run.home / "started").read_text()
    assert "etcd" in there
    assert "kubelet" not in there
    assert list((run.home / "incoming").iterdir()) == []


def test_a_file_that_does_not_arrive_well_fails_the_operation_that_needs_it(run: Run) -> None:
    run.binaries[1].packed(GZIP).file.write_bytes(b"other")
    process = run.start()
    _, output = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "a: kubelet.gz was damaged on the way; run again, and check the disk" in output
    assert output.index("Starting operation: link kubelet") < output.index("was damaged")
    assert "Starting operation: link runc" not in output
    assert "kubelet" not in run.stored()
    assert list((run.home / "incoming").iterdir()) == []
    assert not (run.home / "run/lease").exists()


def test_an_interrupted_run_ends_what_arrives_and_the_next_run_brings_the_rest(run: Run) -> None:
    process = run.start(SLEEP)
    wait_until((run.home / "mark").exists)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "a: may still carry out its last command; its lease ends in 30 s" in output
    assert "Traceback" not in output
    assert (run.home / "run/lease").exists()
    assert run.stored() == {"etcd"}
    (run.home / "go").touch()
    wait_until(lambda: "kubelet" in run.stored())
    assert "runc" not in run.stored()
    again = run.start()
    _, output = again.communicate(timeout=60)
    assert again.returncode == 0, output
    assert "runc" in run.stored()


def test_a_failed_run_finishes_the_present_file_and_gives_its_lease_back(run: Run) -> None:
    process = run.start(FAIL)
    assert process.stderr
    assert any("executed 0 commands" in line for line in process.stderr)
    (run.home / "go").touch()
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "may still carry out" not in rest
    assert not (run.home / "run/lease").exists()
    assert run.stored() == {"etcd", "kubelet"}


def test_a_dry_run_begins_nothing(run: Run) -> None:
    process = run.start(NOTHING, "", "--dry")
    _, output = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert re.search(r"install binaries +1 ", output), output
    assert list((run.home / "incoming").iterdir()) == []
