"""A dry run on fake hosts: it sends only commands that read, and names the differences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.flow.fake import CONFIG, FIT_HOSTS, PROJECT, deploy

HOSTS = """
etcd = masters = [_host("m", 1), _host("a", 2), _host("b", 3)]
minions = [_host("c", 4)]
"""

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
    "kubectl": {"auth can-i", "diff", "get", "wait"},
    "crictl": {"pods", "ps", "version"},
    "ctr": {"images ls"},
    "systemctl": {"is-active", "is-enabled", "is-failed", "show"},
}
"""The commands of each program that a look may use."""

_WRITERS = "rm|mv|cp|tee|touch|mkdir|chmod|chown|kill|sysctl -q|modprobe|useradd"
_WRITES = rf"(?:^|[;&|({{] *|\b(?:do|then|else) +)(?P<word>{_WRITERS})\b"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return everything that a dry run sends."""
    home = tmp_path_factory.mktemp("dry")
    (home / "deploy.py").write_text((PROJECT / "deploy.py").read_text())
    (home / "config.py").write_text(CONFIG)
    # With -y a dry run gathers no facts.
    done = deploy(home, HOSTS, "--data", "artifact_source=source", "--dry", "-vv", yes=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def used(program: str, sent: str) -> set[str]:
    """Return the commands of a program in `sent`: the words after its options."""
    options = r"(?: -[\w-]+(?:=\S+| kube-system| k8s\.io)?)*"
    called = rf"(?<![\w./-])(?:/opt/kubekeel/bin/)?{program}{options}"
    commands = re.findall(rf"{called} ([a-z][\w-]*(?: [a-z][\w-]*)?)", sent)
    return {" ".join(command) for command in map(str.split, commands)}


@pytest.mark.parametrize("program", READING)
def test_a_dry_run_only_reads(program: str, sent: str) -> None:
    found = used(program, sent)
    assert found
    changing = {each for each in found if not {each, each.partition(" ")[0]} & READING[program]}
    assert changing == set()


def test_a_dry_run_writes_nothing(sent: str) -> None:
    assert {match["word"] for match in re.finditer(_WRITES, sent, re.MULTILINE)} == set()


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
        *("b: binaries are missing: kubelet", "c: new, everything is to be installed", "m, a: nothing differs"),
    ]
    assert differences(tmp_path, KEPT, "--limit", "@fake/m") == ["m: nothing differs"]


def test_a_dry_run_names_units_files_and_versions_without_content(tmp_path: Path) -> None:
    (tmp_path / "deploy.py").write_text((PROJECT / "deploy.py").read_text())
    runs = "installed\nruns kubelet v1.36.3\nruns containerd v2.4.1"
    hosts = FIT_HOSTS.replace('_host("a", 2)', f'_host("a", 2, {runs!r})')
    shown = differences(tmp_path, hosts)
    assert shown[-1] == "m, b: new, everything is to be installed"
    assert {*shown} >= {
        "a: kubelet is v1.36.3, v1.37.2 is described",
        "a: containerd is v2.4.1, v2.4.2 is described",
        "a: kubelet does not run",
        "a: /etc/kubernetes is missing",
        "a: the user etcd is missing",
    }
    assert "PRIVATE KEY" not in "".join(shown)
