"""What a deploy says last."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.flow.fake import CONFIG, FIT_HOSTS, PROJECT, deploy

SOURCE = ("--data", "artifact_source=source")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "deploy.py").write_text((PROJECT / "deploy.py").read_text())
    (tmp_path / "config.py").write_text(CONFIG)
    return tmp_path


def last_line(home: Path, hosts: str, *arguments: str, yes: bool = True) -> str:
    return deploy(home, hosts, *SOURCE, *arguments, yes=yes).stderr.strip().splitlines()[-1]


def test_a_deploy_that_ends_well_says_how_to_use_the_cluster(home: Path) -> None:
    said = last_line(home, FIT_HOSTS)
    assert said.endswith(f"Try: kubectl --kubeconfig={home}/pki/admin.conf get nodes")


def test_a_deploy_that_fails_says_where_to_read_on(home: Path) -> None:
    said = last_line(home, FIT_HOSTS.replace('_host("m", 1)', '_host("m", 1, fails="systemctl restart")'))
    assert "The same command goes on from here." in said
    assert Path(said.split()[-1]).exists()


def test_a_dry_run_says_that_nothing_was_changed_and_how_it_is(home: Path) -> None:
    said = last_line(home, FIT_HOSTS, "--dry", yes=False)
    assert said.strip() == "Nothing was changed. The same command without --dry makes the changes listed above."


def test_a_refusal_of_hosts_says_what_to_do_and_where_to_read_on(home: Path) -> None:
    said = last_line(home, FIT_HOSTS.replace('_host("m", 1)', '_host("m", 1, "swap /dev/sda, 100 MiB")'))
    assert "nothing was changed; faults found: 1; correct them, then run this again" in said
    assert Path(re.findall(r"; (\S+) explains them", said)[0]).exists()


def test_a_refusal_of_an_inventory_ends_with_what_is_wrong_and_what_to_do(home: Path) -> None:
    assert last_line(home, FIT_HOSTS, "--data", "node=a") == (
        "  --data node: is unknown to deploy.py (a); leave it out"
    )


def test_a_deploy_without_a_network_for_pods_says_that_one_is_to_be_brought(home: Path) -> None:
    own = ("--data", "pod_network_provider=none", "--data", "kube_proxy_mode=null")
    done = deploy(home, FIT_HOSTS, *SOURCE, *own)
    assert done.returncode == 0, done.stderr
    *_, before, said = done.stderr.strip().splitlines()
    assert "Nodes are not Ready until you install a pod network: " in before
    assert Path(before.split()[-1]).exists()
    assert "Try: kubectl" in said
    assert "operation: kube-proxy" not in done.stderr
