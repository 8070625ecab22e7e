"""A deploy where other versions run than are described: what it refuses, and in which order it goes on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.flow.fake import CONFIG, PROJECT, deploy

MASTER, MINION = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"), ("kubelet",)


def runs(version: str, components: tuple[str, ...]) -> str:
    return "\n".join(f"runs {component} {version}" for component in components)


HOSTS = """
etcd = masters = [_host("m", 1, {master!r})]
minions = [_host("a", 2, {minion!r}), _host("b", 3, {minion!r})]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "deploy.py").write_text((PROJECT / "deploy.py").read_text())
    (tmp_path / "config.py").write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize(
    ("version", "arguments", "fault"),
    [
        ("v1.38.0", (), "kubernetes_version: is a minor version back, which its data do not survive"),
        ("v1.37.9", (), "kubernetes_version: is a patch release back"),
        ("v1.35.4", (), "kubernetes_version: skips a minor version"),
        ("v1.36.3", ("--limit", "minions"), "m: not in this run, but needed for an upgrade"),
    ],
)
def test_a_way_that_breaks_a_cluster_is_refused_before_anything_is_changed(
    home: Path, version: str, arguments: tuple[str, ...], fault: str
) -> None:
    hosts = HOSTS.format(master=runs(version, MASTER), minion=runs(version, MINION))
    done = deploy(home, hosts, "--data", "artifact_source=source", *arguments)
    assert done.returncode == 1
    assert fault in done.stderr
    assert "nothing was changed; faults found: 1" in done.stderr
    assert re.findall(r"Starting (?:serial )?operation", done.stderr) == []
