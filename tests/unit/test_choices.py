"""The arguments of actions, and passphrases."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubekeel.backup import BackupError
from run.choices import faults, passphrase
from tests.clusters import cluster

NAME = cluster().name


@pytest.mark.parametrize(
    ("action", "arguments"),
    [
        ("deploy.py", {}),
        ("deploy.py", {"kubernetes_version": "v1.36.3"}),
        ("deploy.py", {"downgrade": "patch"}),
        ("backup.py", {}),
        ("backup.py", {"backup": "file", "passphrase_file": "other"}),
        ("backup.py", {"verify": "file", "passphrase_file": "other"}),
        ("restore.py", {"backup": "file"}),
        ("restore.py", {"backup": "file", "confirm": NAME}),
        ("remove_node.py", {"node": "a"}),
        ("remove_node.py", {"node": "no longer in the inventory"}),
        ("remove_member.py", {"member": "192.0.2.3"}),
        ("reset.py", {"confirm": NAME}),
        ("revoke.py", {"admin": True}),
        ("revoke.py", {"user": "jane"}),
        ("revoke.py", {"node": "a"}),
        ("rotate.py", {"what": "etcd-ca"}),
        ("rotate.py", {"what": "all"}),
        ("restart_nodes.py", {}),
        ("restart_nodes.py", {"command": "apt-get -y full-upgrade", "reboot": "never"}),
        ("add_user.py", {"user": "jane.doe@example.org", "groups": "dev,team:ops", "days": 365}),
        ("add_user.py", {"user": "jane"}),
        ("status.py", {"html": "status.html"}),
    ],
)
def test_correct_arguments_are_accepted(action: str, arguments: dict[str, object]) -> None:
    assert list(faults(action, arguments, cluster())) == []


@pytest.mark.parametrize(
    ("action", "arguments", "fault"),
    [
        ("status.py", {"html": True}, "--data html: is not a file to write (True); name one, like --data html="),
        ("status.py", {"html": "/"}, "--data html: is not a file to write (/); name one"),
        ("status.py", {"html": "/missing/x.html"}, "--data html: its folder does not exist (/missing); make it"),
        ("check.py", {"html": "x"}, "--data html: is unknown to check.py (x); leave it out"),
        ("remove_node.py", {}, "--data node: is missing; name the host to remove: --data node=NAME"),
        ("remove_node.py", {"node": "m"}, "--data node: is the only master (m); to replace its machine, deploy"),
        ("remove_member.py", {}, "--data member: is missing; name the member to remove from etcd: --data member=NAME"),
        ("reset.py", {}, "--data confirm: is not the cluster's name (missing); to delete the hosts' data, write"),
        ("reset.py", {"confirm": True}, "--data confirm: is not the cluster's name (True); to delete the hosts'"),
        ("reset.py", {"confirm": "yes"}, "--data confirm: is not the cluster's name (yes); to delete the hosts'"),
        ("restore.py", {"backup": "x", "confirm": "yes"}, "--data confirm: is not the cluster's name (yes); to delete"),
        ("restore.py", {}, "--data backup: is missing; name the file to restore: --data backup=FILE"),
        ("revoke.py", {}, "--data admin, --data node, --data user: exactly one must be given; write"),
        ("revoke.py", {"admin": True, "user": "jane"}, "--data admin, --data node, --data user: exactly one must"),
        ("revoke.py", {"node": "x"}, "--data node: is not in the inventory (x); the nodes are m, "),
        (
            "restart_nodes.py",
            {"reboot": "no"},
            "--data reboot: is not a way to restart (no); take one of always, needed",
        ),
        ("restart_nodes.py", {"reboot": "never"}, "--data reboot: leaves nothing to do (never); add --data command"),
        ("rotate.py", {}, "--data what: is not a key to rotate (missing); take one of ca, etcd-ca, front-proxy-ca, s"),
        ("rotate.py", {"what": "cb"}, "--data what: is not a key to rotate (cb); take one of ca, etcd-ca, front-proxy"),
        ("add_user.py", {}, "--data user: is not a name (missing); take at most 64 letters"),
        ("add_user.py", {"user": "../jane"}, "--data user: is not a name (../jane); take at most 64"),
        ("add_user.py", {"user": "system:admin"}, "--data user: is not a name (system:admin); take at most 64"),
        ("add_user.py", {"user": 7}, "--data user: is not a name (7); take at most 64"),
        ("add_user.py", {"user": "kubernetes-admin"}, "--data user: is a name that the cluster uses itself (kubern"),
        ("add_user.py", {"user": "a"}, "--data user: is a name that the cluster uses itself (a); take another one"),
        ("add_user.py", {"user": "j", "groups": "dev,system:masters"}, "--data groups: is reserved for the cluster"),
        (
            "add_user.py",
            {"user": "j", "groups": "kubekeel:cluster-admins"},
            "--data groups: is reserved for the cluster",
        ),
        (
            "add_user.py",
            {"user": "j", "groups": "a b"},
            "--data groups: is not a group (a b); take letters, digits and",
        ),
        ("add_user.py", {"user": "j", "days": 366}, "--data days: is out of range (366); take a whole number from 1"),
        (
            "deploy.py",
            {"downgrade": "minor"},
            "--data downgrade: goes back a patch release only (minor); write downgrade=patch",
        ),
        ("deploy.py", {"node": "a"}, "--data node: is unknown to deploy.py (a); leave it out"),
        ("backup.py", {"backup": "x", "verify": "y"}, "--data verify: cannot be combined with --data backup; take"),
        ("restore.py", {"backup": "x", "verify": "y"}, "--data verify: is unknown to restore.py (y); leave it out"),
        ("backup.py", {"confirm": NAME}, f"--data confirm: is unknown to backup.py ({NAME}); leave it out"),
    ],
)
def test_missing_and_unknown_arguments_are_refused(action: str, arguments: dict[str, object], fault: str) -> None:
    (found,) = faults(action, arguments, cluster())
    assert found.startswith(fault)


def test_an_option_or_a_variable_names_the_passphrase_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(f"phrase {name}\n")
    monkeypatch.setenv("KUBEKEEL_PASSPHRASE_FILE", str(tmp_path / "two"))
    assert passphrase(str(tmp_path / "one")) == b"phrase one"
    assert passphrase("") == b"phrase two"


def test_a_backup_is_not_made_with_a_short_passphrase_and_an_older_one_opens_with_it(tmp_path: Path) -> None:
    (tmp_path / "short").touch(0o600)
    (tmp_path / "short").write_text("secret\n")
    with pytest.raises(BackupError, match=r"short: has too short a passphrase \(6 bytes\); take 12 or more"):
        passphrase(str(tmp_path / "short"), new=True)
    assert passphrase(str(tmp_path / "short")) == b"secret"


def test_a_missing_passphrase_is_refused_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEKEEL_PASSPHRASE_FILE", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(
        BackupError, match="passphrase: is missing, and there is no terminal to type it; write it into a file"
    ):
        passphrase("")


@pytest.mark.parametrize(
    ("typed", "fault"),
    [(["short"], "is too short"), (["a long passphrase", "a lonk passphrase"], "two entries differ")],
)
def test_a_typed_passphrase_must_be_long_and_the_same_twice(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], fault: str
) -> None:
    answers = iter(typed)
    monkeypatch.delenv("KUBEKEEL_PASSPHRASE_FILE", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("run.choices.getpass", lambda _: next(answers))
    with pytest.raises(BackupError, match=fault):
        passphrase("", new=True)
