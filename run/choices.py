"""The actions: which of them only look, their --data arguments, and the backup that two of them use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from getpass import getpass
from pathlib import Path

from kubekeel import users
from kubekeel.backup import Backup, BackupError, read_passphrase
from kubekeel.cluster import Cluster
from kubekeel.pki import ROOTS
from kubekeel.restart import REBOOTS, Restart

DEPLOY, BACKUP, RESTORE, RESET = "deploy.py", "backup.py", "restore.py", "reset.py"
ADD_USER, REVOKE, ROTATE = "add_user.py", "revoke.py", "rotate.py"
REMOVE_MEMBER, REMOVE_NODE = "remove_member.py", "remove_node.py"
RESTART_NODES, DEFRAGMENT = "restart_nodes.py", "defragment.py"
AUDIT, CHECK, COLLECT, STATUS, VERSIONS = "audit.py", "check.py", "collect.py", "status.py", "versions.py"
ALL = "all"
"""Stands for every key that can be rotated."""
VERIFY = "verify"
"""The argument that makes backup.py only read a backup."""
DOWNGRADE = "downgrade"
"""The argument that lets a deploy go back a patch release."""


@dataclass(frozen=True)
class Action:
    """A file that pyinfra is called with: the --data arguments that it knows, and its needs.

    With `looks` it changes no host, and may run beside another run. With `of_cluster` it needs the keys of an existing
    cluster. With `deploys` it needs the cluster's artifacts.
    """

    data: frozenset[str] = frozenset()
    looks: bool = False
    of_cluster: bool = True
    deploys: bool = False


ACTIONS: Mapping[str, Action] = {
    DEPLOY: Action(frozenset({"confirm", DOWNGRADE}), of_cluster=False, deploys=True),
    ADD_USER: Action(frozenset({"user", "groups", "days"})),
    AUDIT: Action(looks=True),
    BACKUP: Action(frozenset({"backup", "passphrase_file", VERIFY})),
    CHECK: Action(looks=True, of_cluster=False),
    COLLECT: Action(looks=True),
    DEFRAGMENT: Action(),
    REMOVE_MEMBER: Action(frozenset({"member"})),
    REMOVE_NODE: Action(frozenset({"node"})),
    RESET: Action(frozenset({"confirm", "authority"}), of_cluster=False),
    RESTART_NODES: Action(frozenset({"command", "reboot"}), deploys=True),
    RESTORE: Action(frozenset({"backup", "passphrase_file", "confirm"}), of_cluster=False, deploys=True),
    REVOKE: Action(frozenset({"admin", "node", "user"}), deploys=True),
    ROTATE: Action(frozenset({"what"}), deploys=True),
    STATUS: Action(frozenset({"html"}), looks=True),
    VERSIONS: Action(looks=True),
}
_OTHER = Action(of_cluster=False, deploys=True)
"""A file that is not in the table counts as a deploy."""

_PASSPHRASE_FILE = "KUBEKEEL_PASSPHRASE_FILE"
_LEAST = 12


def only_looks(actions: Iterable[str], arguments: Mapping[str, object]) -> bool:
    """Whether none of these actions (file names), with these --data arguments, changes a host."""
    return all(_of(action).looks or (action == BACKUP and VERIFY in arguments) for action in actions)


def of_cluster(actions: Iterable[str]) -> bool:
    """Whether one of these actions needs the keys of an existing cluster."""
    return any(_of(action).of_cluster for action in actions)


def deploys(actions: Iterable[str]) -> bool:
    """Whether one of these actions converges hosts, and so needs the artifacts."""
    return any(_of(action).deploys for action in actions)


def _of(action: str) -> Action:
    return ACTIONS.get(action, _OTHER)


def is_choice(key: str) -> bool:
    """Whether `key` is an argument of an action, and not a setting of the cluster."""
    return any(key in action.data for action in ACTIONS.values())


def faults(action: str, arguments: Mapping[str, object], cluster: Cluster) -> Iterator[str]:
    """Yield the faults in the --data arguments of `action`, a file name."""
    known = _of(action).data
    for key in sorted(filter(is_choice, arguments.keys() - known)):
        yield f"--data {key}: is unknown to {action} ({arguments[key]}); leave it out"
    name = str(arguments.get("node", ""))
    if action == REMOVE_NODE and not name:
        yield "--data node: is missing; name the host to remove: --data node=NAME"
    if action == REMOVE_MEMBER and not str(arguments.get("member", "")):
        yield "--data member: is missing; name the member to remove from etcd: --data member=NAME"
    if action == REMOVE_NODE and name in cluster.in_maintenance:
        remedy = "end that in the inventory first, and leave out a host that is gone: --exclude"
        yield f"--data node: is in maintenance ({name}); {remedy} {name}"
    if action == REMOVE_NODE and [node.name for node in cluster.masters] == [name]:
        yield f"--data node: is the only master ({name}); to replace its machine, deploy to a new one"
    if action == ADD_USER:
        yield from users.faults(arguments, cluster)
    if action == REVOKE:
        yield from _revoke_faults(arguments, cluster)
    if action == ROTATE and not roots(arguments):
        what = arguments.get("what", "missing")
        yield f"--data what: is not a key to rotate ({what}); take one of {', '.join((*ROOTS, ALL))}"
    if action == RESTART_NODES:
        yield from _restart_faults(restart(arguments))
    if action == STATUS and "html" in arguments:
        yield from _page_faults(arguments["html"])
    if action == RESTORE and not arguments.get("backup"):
        yield "--data backup: is missing; name the file to restore: --data backup=FILE"
    if action == BACKUP and {"backup", VERIFY} <= arguments.keys():
        yield "--data verify: cannot be combined with --data backup; take the backup first, then verify it"
    if DOWNGRADE in known and arguments.get(DOWNGRADE, "patch") != "patch":
        yield f"--data {DOWNGRADE}: goes back a patch release only ({arguments[DOWNGRADE]}); write {DOWNGRADE}=patch"
    confirmed = arguments.get("confirm")
    if "confirm" in known and confirmed != cluster.name and (action == RESET or confirmed is not None):
        yield (
            f"--data confirm: is not the cluster's name ({confirmed or 'missing'}); "
            f"to delete the hosts' data, write --data confirm={cluster.name}"
        )


def _revoke_faults(arguments: Mapping[str, object], cluster: Cluster) -> Iterator[str]:
    if [arguments.get("admin") is True, "node" in arguments, "user" in arguments].count(True) != 1:
        remedy = "write --data admin=true, --data node=NAME or --data user=NAME"
        yield f"--data admin, --data node, --data user: exactly one must be given; {remedy}"
    names = [node.name for node in cluster.nodes]
    if "node" in arguments and arguments["node"] not in names:
        remedy = f"the nodes are {', '.join(names)}; actions/remove_node.py revokes those of a node that leaves"
        yield f"--data node: is not in the inventory ({arguments['node']}); {remedy}"


def _page_faults(file: object) -> Iterator[str]:
    path = Path(str(file)).expanduser()
    if not isinstance(file, str) or path.is_dir():
        yield f"--data html: is not a file to write ({file}); name one, like --data html=status.html"
    elif not path.parent.is_dir():
        yield f"--data html: its folder does not exist ({path.parent}); make it, or name another one"


def _restart_faults(wanted: Restart) -> Iterator[str]:
    if wanted.reboot not in REBOOTS:
        yield f"--data reboot: is not a way to restart ({wanted.reboot}); take one of {', '.join(REBOOTS)}"
    if wanted.reboot == "never" and not wanted.command:
        yield "--data reboot: leaves nothing to do (never); add --data command=..., or leave it out"


def restart(arguments: Mapping[str, object]) -> Restart:
    """Return the requested steps of restart_nodes.py on each host."""
    return Restart(str(arguments.get("command") or ""), str(arguments.get("reboot") or "always"))


def roots(arguments: Mapping[str, object]) -> tuple[str, ...]:
    """Return the keys of ROOTS to rotate; none if the argument names no key."""
    what = arguments.get("what")
    return tuple(root for root in ROOTS if what in (root, ALL))


def user(arguments: Mapping[str, object]) -> tuple[str, tuple[str, ...], int]:
    """Return the new user's name, groups, and days of validity."""
    return str(arguments["user"]), users.groups(arguments), int(str(arguments.get("days", users.DAYS)))


def backup(arguments: Mapping[str, object]) -> Backup:
    """Return the backup to restore, checked as a whole, once. Raises BackupError."""
    return opened_backup(Path(str(arguments["backup"])).expanduser(), str(arguments.get("passphrase_file", "")))


@cache
def opened_backup(path: Path, passphrase_file: str) -> Backup:
    """Return the backup in a file, checked as a whole, once. Raises BackupError."""
    return Backup.open(path, passphrase(passphrase_file))


def passphrase(file: str, new: bool = False) -> bytes:
    """Return a backup's passphrase: from `file`, from $KUBEKEEL_PASSPHRASE_FILE, or typed in, a `new` one twice.

    Raises BackupError, also if a new one is short.
    """
    if file := file or os.environ.get(_PASSPHRASE_FILE, ""):
        read = read_passphrase(Path(file).expanduser())
        if new and len(read) < _LEAST:
            raise BackupError(f"{file}: has too short a passphrase ({len(read)} bytes); take {_LEAST} or more")
        return read
    if not sys.stdin.isatty():
        raise BackupError(
            "passphrase: is missing, and there is no terminal to type it; write it into a file of mode 0600 and name"
            f" that by --data passphrase_file=FILE, or by ${_PASSPHRASE_FILE}"
        )
    typed = getpass("Passphrase of the backup: ").encode()
    if new and len(typed) < _LEAST:
        raise BackupError(f"passphrase: is too short ({len(typed)} bytes); take {_LEAST} or more")
    if new and getpass("Once more: ").encode() != typed:
        raise BackupError("passphrase: the two entries differ; begin again")
    return typed
