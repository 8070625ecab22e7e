"""What a deploy says last: how to use the cluster, or where to read on."""

from __future__ import annotations

import atexit

from pyinfra import logger, state
from pyinfra.api.state import StateStage

from kubekeel.render import PROJECT
from run.absence import away
from run.choices import DEPLOY
from run.inventory import ADMIN_CONF, cluster_of, runs, state_dir


def say_what_is_next() -> None:
    """Have a deploy end with what can be done now; config.py calls this."""
    if runs(DEPLOY):
        atexit.register(_say)


def _say() -> None:
    # A look, a refusal and an interruption say for themselves what to do.
    if not state.initialised or state.current_stage < StateStage.Execute:
        return
    if state.failed_hosts:
        logger.info(f"The same command goes on from here. If it fails again, read {PROJECT}/docs/troubleshooting.md")
    elif state.current_stage == StateStage.Disconnect:
        if cluster_of(state.inventory).pod_network_provider == "none":
            logger.info(f"Until you bring a network for pods, Nodes are not Ready: {PROJECT}/docs/networking.md")
        rest = ""
        if absent := away(state):
            logger.warning(f"Away, and as they were: {', '.join(absent)}. Once they are up, deploy again.")
            rest = " but for them"
        use = f"kubectl --kubeconfig={state_dir() / ADMIN_CONF} get nodes"
        logger.info(f"The cluster is as described{rest}. Try: {use}")
