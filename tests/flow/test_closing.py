"""The last lines of a run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from run.choices import ACTIONS, ADD_USER, BACKUP, CHECK, DEPLOY, REMOVE_MEMBER, REMOVE_NODE, RESET, REVOKE, VERIFY
from run.closing import ENDINGS, after_failure, after_success
from tests.flow.fake import CONFIG, FIT_HOSTS, PROJECT, deploy
from tests.hosts import cluster
from tests.unit.keys import saved

SOURCE = ("--data", "artifact_source=source")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for file in ("deploy.py", *(f"actions/{action}" for action in ACTIONS if action != DEPLOY)):
        (tmp_path / Path(file).name).write_text((PROJECT / file).read_text())
    (tmp_path / "config.py").write_text(CONFIG)
    return tmp_path


def last_line(home: Path, hosts: str, *arguments: str, file: str = DEPLOY, yes: bool = True) -> str:
    return deploy(home, hosts, *SOURCE, *arguments, file=file, yes=yes).stderr.strip().splitlines()[-1]


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


def test_a_dry_run_without_differences_does_not_speak_of_changes(home: Path) -> None:
    (home / DEPLOY).write_text("from tasks import preflight\n\npreflight.check()\n")
    last = last_line(home, FIT_HOSTS, "--dry", yes=False)
    assert last.strip() == "Nothing was changed. The same command without --dry has nothing to change."


def test_a_dry_run_with_y_says_that_it_compares_nothing(home: Path) -> None:
    assert "leave out -y to see the differences" in deploy(home, FIT_HOSTS, *SOURCE, "--dry").stderr


NAMES = {
    **dict.fromkeys(("run", "kubectl", "folder", "admin_conf", "users", "absent"), "NAME"),
    **dict.fromkeys(("user", "node", "member", "confirm", "what"), "DATA"),
}


def test_every_action_names_a_page_after_a_failure() -> None:
    assert ENDINGS.keys() == ACTIONS.keys()
    for action in ENDINGS:
        assert Path(after_failure(action, {}).split()[-1]).exists(), action
    assert "goes on" not in after_failure(BACKUP, {VERIFY: "FILE"})


@pytest.mark.parametrize("action", [name for name, action in ACTIONS.items() if not action.looks])
def test_every_action_that_changes_hosts_names_the_next_step(action: str) -> None:
    assert after_success(action, NAMES)
    assert ENDINGS[action].by_argument.keys() <= ACTIONS[action].data


def test_a_verified_backup_names_the_command_that_restores_it() -> None:
    last = after_success(BACKUP, {**NAMES, "run": "pyinfra -y hosts.py", VERIFY: "x.kubekeel"})
    assert last.endswith(": pyinfra -y hosts.py actions/restore.py --data backup=x.kubekeel")


@pytest.mark.parametrize(
    ("file", "argument", "said"),
    [
        (ADD_USER, "user=jane", "The kubeconfig is {home}/pki/users/jane.conf."),
        (REVOKE, "admin=true", "The new kubeconfig is {home}/pki/admin.conf."),
        (RESET, "confirm=kubekeel", "The cluster's keys stay in {home}/pki."),
    ],
)
def test_an_action_ends_with_the_next_step(home: Path, file: str, argument: str, said: str) -> None:
    saved(home / "pki", replace(cluster(), name="kubekeel"))
    assert said.format(home=home) in last_line(home, FIT_HOSTS, "--data", argument, file=file)


@pytest.mark.parametrize(
    ("file", "argument", "hosts"),
    [
        (BACKUP, "backup=x", FIT_HOSTS),
        (
            CHECK,
            "artifact_source=source",
            FIT_HOSTS.replace('_host("m", 1)', '_host("m", 1, "swap /dev/sda, 100 MiB")'),
        ),
        (REMOVE_MEMBER, "member=m", FIT_HOSTS),
        (REMOVE_NODE, "node=x", FIT_HOSTS),
    ],
)
def test_an_action_that_fails_or_is_refused_ends_with_a_page(home: Path, file: str, argument: str, hosts: str) -> None:
    saved(home / "pki", replace(cluster(), name="kubekeel"))
    page = re.search(r"\S+/docs/\S+\.md", last_line(home, hosts, "--data", argument, file=file))
    assert page
    assert Path(page[0]).exists()


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
