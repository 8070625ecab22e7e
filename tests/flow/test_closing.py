"""The last lines of a deploy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.flow.fake import CONFIG, FIT_HOSTS, PROJECT, deploy
from tests.hosts import cluster
from tests.unit.keys import saved

SOURCE = ("--data", "artifact_source=source")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for file in ("deploy.py", "actions/revoke.py", "actions/remove_node.py"):
        (tmp_path / Path(file).name).write_text((PROJECT / file).read_text())
    (tmp_path / "config.py").write_text(CONFIG)
    return tmp_path


def last_line(home: Path, hosts: str, *arguments: str, yes: bool = True) -> str:
    return deploy(home, hosts, *SOURCE, *arguments, yes=yes).stderr.strip().splitlines()[-1]


def test_a_successful_deploy_says_how_to_use_the_cluster(home: Path) -> None:
    last = last_line(home, FIT_HOSTS)
    assert last.endswith(f"Try: kubectl --kubeconfig={home}/pki/admin.conf get nodes")


def test_a_failed_deploy_names_a_page_to_read(home: Path) -> None:
    last = last_line(home, FIT_HOSTS.replace('_host("m", 1)', '_host("m", 1, fails="systemctl restart")'))
    assert "The same command goes on from here." in last
    assert Path(last.split()[-1]).exists()


def test_a_dry_run_says_that_nothing_was_changed_and_how_to_change_it(home: Path) -> None:
    last = last_line(home, FIT_HOSTS, "--dry", yes=False)
    assert last.strip() == "Nothing was changed. The same command without --dry makes the changes listed above."


def test_a_refusal_of_hosts_names_a_remedy_and_a_page_to_read(home: Path) -> None:
    last = last_line(home, FIT_HOSTS.replace('_host("m", 1)', '_host("m", 1, "swap /dev/sda, 100 MiB")'))
    assert "nothing was changed; faults found: 1; correct them, then run this again" in last
    assert Path(re.findall(r"; (\S+) explains them", last)[0]).exists()


def test_a_refusal_of_an_inventory_ends_with_the_fault_and_its_remedy(home: Path) -> None:
    assert last_line(home, FIT_HOSTS, "--data", "node=a") == (
        "  --data node: is unknown to deploy.py (a); leave it out"
    )


def test_a_deploy_without_a_pod_network_says_that_users_must_install_one(home: Path) -> None:
    own = ("--data", "pod_network_provider=none", "--data", "kube_proxy_mode=null")
    done = deploy(home, FIT_HOSTS, *SOURCE, *own)
    assert done.returncode == 0, done.stderr
    *_, before, last = done.stderr.strip().splitlines()
    assert "Nodes are not Ready until you install a pod network: " in before
    assert Path(before.split()[-1]).exists()
    assert "Try: kubectl" in last
    assert "operation: kube-proxy" not in done.stderr


ADVICE = "m was a master. If somebody else had access to it, replace all keys (actions/rotate.py --data what=all)"


@pytest.mark.parametrize("node", ["m", "a"])
def test_a_revocation_of_a_masters_keys_names_the_keys_that_stay_valid(home: Path, node: str) -> None:
    saved(home / "pki", cluster())
    done = deploy(home, FIT_HOSTS, *SOURCE, "--data", f"node={node}", file="revoke.py")
    assert done.returncode == 0, done.stderr
    assert (ADVICE in done.stderr) == (node == "m")
