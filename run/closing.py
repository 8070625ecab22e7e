"""The last line of a run: how to use the cluster, what is left to do, or where to read on."""

from __future__ import annotations

import atexit
from collections.abc import Sequence

import click
from pyinfra import logger, state
from pyinfra.api.state import State, StateStage

from kubekeel.render import PROJECT
from run.absence import away
from run.choices import DEPLOY, REMOVE_NODE, REVOKE
from run.insides import before_changes
from run.inventory import ADMIN_CONF, cluster_of, runs, state_dir


def say_what_is_next() -> None:
    """Make a run end with the user's next step; config.py calls this."""
    if runs(DEPLOY):
        listed: list[State] = []
        before_changes(listed.append)
        atexit.register(_say, listed, dry=click.get_current_context().params["dry"])
    elif runs(REVOKE) or runs(REMOVE_NODE):
        atexit.register(_say_what_a_master_had)


def _say_what_a_master_had() -> None:
    """Name the keys that stay valid after the keys of a master were revoked."""
    if not state.initialised or state.current_stage != StateStage.Disconnect or state.failed_hosts:
        return
    name = str(state.inventory.override_data.get("node", ""))
    if name in {node.name for node in cluster_of(state.inventory).masters}:
        others = " and revoke the administrators (actions/revoke.py --data admin=true)," if runs(REMOVE_NODE) else ","
        logger.warning(
            f"{name} was a master. If somebody else had access to it, replace all keys (actions/rotate.py --data"
            f" what=all){others} since a master has the keys of tokens, of encryption and of the front proxy."
        )


def _say(listed: Sequence[State], dry: bool) -> None:
    # The messages of a refusal and of an interruption already say what to do.
    if not state.initialised:
        return
    if state.current_stage < StateStage.Execute:
        if listed:
            rest = " The same command without --dry makes the changes listed above." if dry else ""
            logger.info(f"Nothing was changed.{rest}")
    elif state.failed_hosts:
        logger.info(f"The same command goes on from here. If it fails again, read {PROJECT}/docs/troubleshooting.md")
    elif state.current_stage == StateStage.Disconnect:
        if cluster_of(state.inventory).pod_network_provider == "none":
            logger.info(f"Nodes are not Ready until you install a pod network: {PROJECT}/docs/networking.md")
        rest = ""
        if absent := away(state):
            logger.warning(f"Unreachable, and not changed: {', '.join(absent)}. Once they are up, deploy again.")
            rest = " except for them"
        use = f"kubectl --kubeconfig={state_dir() / ADMIN_CONF} get nodes"
        logger.info(f"The cluster is as described{rest}. Try: {use}")
