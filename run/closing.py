"""The last line of a run: the user's next step, the remaining work, or the page to read."""

from __future__ import annotations

import atexit
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra import logger, state
from pyinfra.api.exceptions import DeployError
from pyinfra.api.state import State, StateStage

from kubekeel.pki import USERS
from kubekeel.render import PROJECT
from run.absence import away
from run.choices import (
    ADD_USER,
    AUDIT,
    BACKUP,
    CHECK,
    COLLECT,
    DEFRAGMENT,
    DEPLOY,
    REMOVE_MEMBER,
    REMOVE_NODE,
    RESET,
    RESTART_NODES,
    RESTORE,
    REVOKE,
    ROTATE,
    STATUS,
    VERIFY,
    VERSIONS,
    only_looks,
)
from run.insides import before_changes, changing, command_line
from run.inventory import ADMIN_CONF, cluster_of, runs, state_dir


@dataclass(frozen=True)
class Ending:
    """The user's next step after an action, and the page in `docs/` to read after its failure.

    `by_argument` has the next step of a run with this --data argument. The texts may name {run} (pyinfra with the
    inventory), {kubectl}, {folder} (the state directory), {admin_conf}, {users} (their folder), {absent} and the run's
    --data arguments.
    """

    page: str
    next: str = ""
    by_argument: Mapping[str, str] = field(default_factory=dict)


_SEE = "See the cluster's state: {run} actions/status.py"
ENDINGS: Mapping[str, Ending] = {
    DEPLOY: Ending("troubleshooting.md", "The cluster is as described{absent}. Try: {kubectl} get nodes"),
    ADD_USER: Ending(
        "security.md",
        "The kubeconfig is {users}/{user}.conf. It has the rights that roles give to {user} and to its groups.",
    ),
    AUDIT: Ending("security.md"),
    BACKUP: Ending(
        "operations/backup.md",
        "Keep the passphrase apart from the backup. Test it: {run} actions/backup.py --data verify=FILE",
        {VERIFY: "Restore it on machines without a cluster: {run} actions/restore.py --data backup={verify}"},
    ),
    CHECK: Ending("preflight.md"),
    COLLECT: Ending("operations/status.md"),
    DEFRAGMENT: Ending("operations/backup.md", _SEE),
    REMOVE_MEMBER: Ending(
        "operations/nodes.md", "Remove the host from the group etcd, otherwise it joins again at the next deploy."
    ),
    REMOVE_NODE: Ending(
        "operations/nodes.md", "Remove {node} from the inventory, otherwise the next deploy adds it again."
    ),
    RESET: Ending("operations/nodes.md", "The cluster's keys stay in {folder}. The next deploy uses them again."),
    RESTART_NODES: Ending("operations/upgrade.md", _SEE),
    RESTORE: Ending("operations/backup.md", "The cluster is restored. Try: {kubectl} get nodes"),
    REVOKE: Ending(
        "security.md",
        by_argument={
            "admin": "The new kubeconfig is {admin_conf}. The cluster refuses the old ones.",
            "user": "Hand out the new kubeconfigs of the other users: {users}",
            "node": "{node} has new keys. " + _SEE,
        },
    ),
    ROTATE: Ending(
        "security.md",
        "If ca was replaced, hand out {admin_conf} and {users} again. Older backups have the old key; make a new one:"
        " {run} actions/backup.py",
    ),
    STATUS: Ending("operations/status.md"),
    VERSIONS: Ending("operations/upgrade.md"),
}
"""The endings of all actions."""


def refusal(faults: int, page: str) -> DeployError:
    """Return the end of a run that found so many faults before any change; `page` in `docs/` explains them."""
    remedy = f"correct them, then run this again; {PROJECT}/docs/{page} explains them"
    return DeployError(f"nothing was changed; faults found: {faults}; {remedy}")


def say_what_is_next() -> None:
    """Make a run end with the user's next step; config.py calls this."""
    options, listed = command_line(), list[State]()
    for action in filter(runs, ENDINGS):
        if options["dry"] and options["yes"]:
            logger.warning("--dry with -y compares nothing; leave out -y to see the differences")
        before_changes(listed.append)
        atexit.register(_say, action, f"pyinfra -y {options['inventory']}", listed, dry=options["dry"])
        return


def _say(action: str, run: str, listed: Sequence[State], dry: bool) -> None:
    # The messages of a refusal and of an interruption already say what to do.
    if not state.initialised:
        return
    if state.current_stage < StateStage.Execute:
        if listed:
            logger.info(_unchanged(dry))
    elif state.failed_hosts:
        logger.info(after_failure(action, state.inventory.override_data))
    elif state.current_stage == StateStage.Disconnect:
        _say_what_is_left(action)
        if line := after_success(action, _names(run)):
            logger.info(line)


def _unchanged(dry: bool) -> str:
    if not dry:
        return "Nothing was changed."
    if not any(any(changing(state, host)) for host in state.inventory.iter_activated_hosts()):
        return "Nothing was changed. The same command without --dry has nothing to change."
    return "Nothing was changed. The same command without --dry makes the changes listed above."


def after_failure(action: str, arguments: Mapping[str, object]) -> str:
    """Return the last line of an action that failed with these --data arguments."""
    page = f"{PROJECT}/docs/{ENDINGS[action].page}"
    if only_looks([action], arguments):
        return f"This page explains the lines above: {page}"
    return f"The same command goes on from here. If it fails again, read {page}"


def after_success(action: str, names: Mapping[str, object]) -> str:
    """Return the last line of an action that succeeded, empty if it has none; `names` are those of `Ending`."""
    ending = ENDINGS[action]
    text = next((text for key, text in ending.by_argument.items() if key in names), ending.next)
    return text.format_map(names)


def _names(run: str) -> Mapping[str, object]:
    folder = state_dir()
    admin_conf = folder / ADMIN_CONF
    own = {"run": run, "kubectl": f"kubectl --kubeconfig={admin_conf}", "folder": folder, "admin_conf": admin_conf}
    absent = " except for them" if away(state) else ""
    return ChainMap({**own, "users": folder / USERS, "absent": absent}, state.inventory.override_data)


def _say_what_is_left(action: str) -> None:
    if action == DEPLOY and cluster_of(state.inventory).pod_network_provider == "none":
        logger.info(f"Nodes are not Ready until you install a pod network: {PROJECT}/docs/networking.md")
    if action in (REVOKE, REMOVE_NODE):
        _say_what_a_master_had(action)
    if absent := away(state):
        logger.warning(f"Unreachable, and not changed: {', '.join(absent)}. Once they are up, deploy again.")


def _say_what_a_master_had(action: str) -> None:
    """Name the keys that stay valid after the keys of a master were revoked."""
    name = str(state.inventory.override_data.get("node", ""))
    if name in {node.name for node in cluster_of(state.inventory).masters}:
        others = (
            " and revoke the administrators (actions/revoke.py --data admin=true)," if action == REMOVE_NODE else ","
        )
        logger.warning(
            f"{name} was a master. If somebody else had access to it, replace all keys (actions/rotate.py --data"
            f" what=all){others} since a master has the keys of tokens, of encryption and of the front proxy."
        )
