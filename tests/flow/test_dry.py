"""Dry runs and actions that only look, on fake hosts: they only read, and a dry run names the differences."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from run.choices import ACTIONS
from tests.flow.fake import CONFIG, FIT_HOSTS, PROJECT, deploy
from tests.flow.servers import ssh_listening
from tests.hosts import cluster
from tests.unit.keys import saved

HOSTS = """
etcd = masters = [_host("m", 1), _host("a", 2), _host("b", 3)]
minions = [_host("c", 4)]
"""
COLLECTED = "kubekeel-logs-*.tar.gz"
CLUSTER = replace(cluster(), name="kubekeel")

READING = {
    "etcdctl": {
        "alarm list",
        "auth status",
        "endpoint health",
        "endpoint status",
        "get",
        "member list",
        "role get",
        "role list",
        "user get",
        "user list",
    },
    "kubectl": {"auth can-i", "describe", "diff", "get", "wait"},
    "crictl": {"images", "inspect", "inspectp", "logs", "pods", "ps", "version"},
    "ctr": {"containers ls", "images ls"},
    "systemctl": {"is-active", "is-enabled", "is-failed", "show", "status"},
}
"""The commands of each program that a look may use."""

_WRITERS = "rm|mv|cp|ln|tee|touch|truncate|mkdir|chmod|chown|kill|sed -i|sysctl -q|modprobe|useradd|groupadd"
_WRITES = rf"(?:^|[;&|({{] *|\b(?:do|then|else) +)(?:{_WRITERS})\b|>[>|]? *[\"']?/(?!dev/)\S+"


LOOKS: dict[str, tuple[str, ...]] = {
    "deploy.py": ("--dry",),
    **{f"actions/{name}": () for name, action in sorted(ACTIONS.items()) if action.looks},
}
"""The runs that only look, with their arguments."""


def look(home: Path, file: str, hosts: str = HOSTS) -> subprocess.CompletedProcess[str]:
    """Run a look with everything that it sends on stderr."""
    (home / "config.py").write_text(CONFIG)
    # With -y a dry run gathers no facts.
    options = ("--data", "artifact_source=source", "-vv", *LOOKS[file])
    return deploy(home, hosts, *options, file=str(PROJECT / file), yes="--dry" not in options)


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Yield a function that returns everything that a look sends."""

    @cache
    def sent_by(file: str) -> str:
        home = tmp_path_factory.mktemp("look")
        saved(home / "pki", CLUSTER)
        done = look(home, file)
        assert done.returncode == 0 or file != "deploy.py", done.stderr
        return done.stderr

    before = {*PROJECT.glob(COLLECTED)}
    yield sent_by
    for archive in {*PROJECT.glob(COLLECTED)} - before:
        archive.unlink()


def used(program: str, sent: str) -> set[str]:
    """Return the commands of a program in `sent`: the words after its options."""
    options = r"(?: -[\w-]+(?:=\S+| kube-system| k8s\.io)?)*"
    called = rf"(?<![\w./-])(?:/opt/kubekeel/bin/)?{program}{options}"
    commands = re.findall(rf"{called} ([a-z][\w-]*(?: [a-z][\w-]*)?)", sent)
    return {" ".join(command) for command in map(str.split, commands)}


@pytest.mark.parametrize("program", READING)
@pytest.mark.parametrize("file", LOOKS)
def test_a_look_only_reads(file: str, program: str, sent: Callable[[str], str]) -> None:
    found = used(program, sent(file))
    assert found or file != "deploy.py"
    changing = {each for each in found if not {each, each.partition(" ")[0]} & READING[program]}
    assert changing == set()


@pytest.mark.parametrize("file", LOOKS)
def test_a_look_writes_nothing_on_hosts(file: str, sent: Callable[[str], str]) -> None:
    assert set(re.findall(_WRITES, sent(file), re.MULTILINE)) == set()


@pytest.mark.parametrize("file", LOOKS)
def test_a_look_writes_nothing_beside_the_keys_not_even_a_new_host_s_key(file: str, tmp_path: Path) -> None:
    saved(tmp_path / "pki", CLUSTER)
    before, collected = contents(tmp_path / "pki"), {*PROJECT.glob(COLLECTED)}
    with ssh_listening() as server:
        hosts = f'etcd = masters = [_host("m", 1)]\nminions = [_ssh("a", 2, {server.port})]'
        done = look(tmp_path, file, hosts)
    assert "is contacted for the first time; a run that only looks does not store its host key" in done.stderr
    assert server.logins
    assert contents(tmp_path / "pki") == before
    for archive in {*PROJECT.glob(COLLECTED)} - collected:
        archive.unlink()


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FIRST = """
from pyinfra import host
from operations.store import store
from operations.target import here
from tasks import preflight

preflight.check()
target = here()
store(name="binaries", artifacts=[target.supply.binary("kubelet", "amd64")])
"""
KEPT = """
_kept = {"find -H /opt/kubekeel/store": "sha256-of-kubelet/kubelet"}
etcd = masters = [_host("m", 1, "installed", says=_kept)]
minions = [_host("a", 2, "installed", says=_kept), _host("b", 3, "installed"), _host("c", 4)]
"""


def differences(home: Path, hosts: str, *arguments: str) -> list[str]:
    """Return the differences of hosts that a dry run names, before it counts operations."""
    (home / "config.py").write_text(CONFIG)
    done = deploy(home, hosts, "--data", "artifact_source=source", "--dry", *arguments, yes=False)
    assert done.returncode == 0, done.stderr
    _, _, shown = done.stderr.partition("--> Detected changes:")
    assert shown.count("Conditional Change") == 1
    return [line.strip() for line in shown.partition("Operation")[0].splitlines() if line.strip()]


def test_a_dry_run_names_the_differences_of_each_host(tmp_path: Path) -> None:
    (tmp_path / "deploy.py").write_text(FIRST)
    assert differences(tmp_path, KEPT) == [
        *("b: binaries are missing: kubelet", "c: is new, and gets everything", "m, a: nothing differs"),
    ]
    assert differences(tmp_path, KEPT, "--limit", "@fake/m") == ["m: nothing differs"]


def test_a_dry_run_names_units_files_and_versions_without_content(tmp_path: Path) -> None:
    (tmp_path / "deploy.py").write_text((PROJECT / "deploy.py").read_text())
    runs = "installed\nruns kubelet v1.36.3\nruns containerd v2.4.1"
    hosts = FIT_HOSTS.replace('_host("a", 2)', f'_host("a", 2, {runs!r})')
    shown = differences(tmp_path, hosts)
    assert shown[-1] == "m, b: is new, and gets everything"
    assert {*shown} >= {
        "a: kubelet is v1.36.3, but should be v1.37.2",
        "a: containerd is v2.4.1, but should be v2.4.2",
        "a: kubelet does not run",
        "a: /etc/kubernetes is missing",
        "a: the user etcd is missing",
    }
    assert "PRIVATE KEY" not in "".join(shown)
