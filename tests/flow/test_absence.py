"""Unreachable hosts, and hosts in maintenance."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.fake import CONFIG, FIT_HOSTS, PROJECT, deploy

SOURCE = ("--data", "artifact_source=source")
ONE_ALLOWED = ("--data", "unreachable=1")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "deploy.py").write_text((PROJECT / "deploy.py").read_text())
    (tmp_path / "config.py").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Yield a port that is in use, and on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def without_b(port: int) -> str:
    return FIT_HOSTS.replace('_host("b", 3)', f'_ssh("b", 3, {port})')


def test_an_unreachable_host_is_refused_unless_the_inventory_allows_it(home: Path, closed_port: int) -> None:
    done = deploy(home, without_b(closed_port), *SOURCE)
    assert done.returncode == 1
    assert "b: is unreachable" in done.stderr
    assert "nothing was changed" in done.stderr


def test_a_deploy_leaves_out_an_allowed_unreachable_host_and_names_it_last(home: Path, closed_port: int) -> None:
    done = deploy(home, without_b(closed_port), *SOURCE, *ONE_ALLOWED)
    assert done.returncode == 3, done.stderr
    *_, named, last = done.stderr.strip().splitlines()
    assert "Unreachable, and not changed: b. Once they are up, deploy again." in named
    assert "The cluster is as described except for them. Try: " in last
    assert "Traceback" not in done.stderr


def test_a_run_that_fails_on_other_hosts_has_failed(home: Path, closed_port: int) -> None:
    failing = without_b(closed_port).replace('_host("a", 2)', '_host("a", 2, fails="systemctl restart")')
    done = deploy(home, failing, *SOURCE, *ONE_ALLOWED)
    assert done.returncode == 1
    assert "Unreachable, and not changed" not in done.stderr


def test_too_many_unreachable_hosts_are_refused_by_name(home: Path, closed_port: int) -> None:
    done = deploy(
        home, without_b(closed_port).replace('_host("a", 2)', f'_ssh("a", 2, {closed_port})'), *SOURCE, *ONE_ALLOWED
    )
    assert done.returncode == 1
    assert "unreachable: too many hosts are unreachable (2 of 3, 1 allowed)" in done.stderr
    assert "a: is unreachable" in done.stderr


def test_a_master_may_never_be_unreachable(home: Path, closed_port: int) -> None:
    hosts = f'etcd = [_host("a", 2)]\nmasters = [_host("n", 4), _ssh("m", 1, {closed_port})]\nminions = etcd\n'
    done = deploy(home, hosts, *SOURCE, *ONE_ALLOWED)
    assert done.returncode == 1
    assert "unreachable: every master must be reachable (not m); start them" in done.stderr


def test_a_host_in_maintenance_is_named_and_not_contacted(home: Path) -> None:
    hosts = FIT_HOSTS.replace('_host("b", 3)', '_host("b", 3, maintenance=True)')
    done = deploy(home, hosts, *SOURCE)
    assert done.returncode == 0, done.stderr
    assert "b: is in maintenance, so this run leaves it out" in done.stderr
    assert "[@fake/b]" not in done.stderr
    assert not (home / "pki/nodes/b").exists()


def test_a_run_of_only_hosts_in_maintenance_is_refused(home: Path) -> None:
    hosts = FIT_HOSTS.replace('_host("b", 3)', '_host("b", 3, maintenance=True)')
    done = deploy(home, hosts, *SOURCE, "--limit", "*b")
    assert done.returncode == 1
    assert "maintenance: leaves no host in this run (b); " in done.stderr


def test_a_host_in_maintenance_is_not_removed(home: Path) -> None:
    hosts = FIT_HOSTS.replace('_host("b", 3)', '_host("b", 3, maintenance=True)')
    assert deploy(home, hosts, *SOURCE).returncode == 0
    (home / "remove_node.py").write_text((PROJECT / "actions/remove_node.py").read_text())
    done = deploy(home, hosts, *SOURCE, "--data", "node=b", file="remove_node.py")
    assert done.returncode == 1
    assert "--data node: is in maintenance (b); end that in the inventory first" in done.stderr
