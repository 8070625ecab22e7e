"""A dry run, on hosts that do nothing: what it sends them only asks."""

from __future__ import annotations

import re

import pytest

from tests.flow.fake import CONFIG, PROJECT, deploy

HOSTS = """
etcd = masters = [_host("m", 1), _host("a", 2), _host("b", 3)]
minions = [_host("c", 4)]
"""

ASKING = {
    "etcdctl": {
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
"""The commands that a look may use of each program."""

_WRITERS = "rm|mv|cp|tee|touch|mkdir|chmod|chown|kill|sysctl -q|modprobe|useradd"
_WRITES = rf"(?:^|[;&|({{] *|\b(?:do|then|else) +)(?P<word>{_WRITERS})\b"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All that a dry run says that it sends."""
    home = tmp_path_factory.mktemp("dry")
    (home / "deploy.py").write_text((PROJECT / "deploy.py").read_text())
    (home / "config.py").write_text(CONFIG)
    # With -y it would gather no facts.
    done = deploy(home, HOSTS, "--data", "artifact_source=source", "--dry", "-vv", yes=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def used(program: str, sent: str) -> set[str]:
    """The commands of a program in what was sent: the words after its options."""
    options = r"(?: -[\w-]+(?:=\S+| kube-system| k8s\.io)?)*"
    called = rf"(?<![\w./-])(?:/opt/kubekeel/bin/)?{program}{options}"
    commands = re.findall(rf"{called} ([a-z][\w-]*(?: [a-z][\w-]*)?)", sent)
    return {" ".join(command) for command in map(str.split, commands)}


@pytest.mark.parametrize("program", ASKING)
def test_a_dry_run_only_asks(program: str, sent: str) -> None:
    asked = used(program, sent)
    assert asked
    changing = {each for each in asked if not {each, each.partition(" ")[0]} & ASKING[program]}
    assert changing == set()


def test_a_dry_run_writes_nothing(sent: str) -> None:
    assert {match["word"] for match in re.finditer(_WRITES, sent, re.MULTILINE)} == set()
