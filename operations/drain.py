"""Drain and uncordon a node for a change; a master runs the commands, whichever host has its turn."""

from __future__ import annotations

import shlex
from threading import Lock

from paramiko import SSHException
from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel.nodes import DRAINED, TAKEN_OUT
from kubekeel.shell import script
from operations.addons import available
from operations.kubectl import KUBECTL
from operations.wait import until
from run.ask import ask
from run.inventory import cluster_of, node_of
from run.waits import show_wait

_ADDONS_PATIENCE, _UNCORDON_PATIENCE, _FILE_PATIENCE, _PROBE_PATIENCE = 300, 60, 60, 180
_NO_ENDPOINTS = (
    "the controller manager does not make endpoints, so services would send requests to pods that have ended; read the"
    " logs of the controller managers, then run again"
)
# Another controller manager that leads is progress.
_LEADER = f"{KUBECTL} -n kube-system get lease kube-controller-manager -o 'jsonpath={{.spec.holderIdentity}}'"
# Seconds until hanging commands have ended.
_MORE = 120
# Hosts of a batch drain at the same time, and one of them connects.
_lock = Lock()


def drain_script(node: str, seconds: int) -> str:
    """Return a shell command for a master that drains a node; if that fails, the node takes pods as before."""
    tried = f"{begin_probe(node)} && {end_probe(node)}"
    return f"{tried} && {_command('drain.sh', node, str(seconds), DRAINED)}"


def begin_probe(owner: str) -> str:
    """Return a shell command that makes the owner's probe service, and waits until it has endpoints."""
    wait = until(_probe("found", owner), _PROBE_PATIENCE, _NO_ENDPOINTS, progress=_LEADER)
    return f"{_probe('begin', owner)} && {{ {wait} || {{ {end_probe(owner)}; false; }}; }}"


def end_probe(owner: str) -> str:
    """Return a shell command that deletes the owner's probe service."""
    return _probe("end", owner)


def _probe(step: str, owner: str) -> str:
    return _command("probe-endpoints.sh", step, owner)


def take_out(state: State, host: Host, seconds: int) -> bool:
    """Drain the node of `host` once the add-ons are available; return whether that succeeded."""
    name = node_of(host).name
    remedy = "repair them first, or set drain to never"
    gate = until(
        available(cluster_of(state.inventory)),
        _ADDONS_PATIENCE,
        f"{name}: is not drained, since add-ons are not available; {remedy}",
    )
    logger.info(f"{host.print_prefix}is being drained")
    if not _asked(host, f"touch {TAKEN_OUT}", _FILE_PATIENCE):
        return False
    with show_wait(host, "its pods to leave"):
        longest = 15 * (_ADDONS_PATIENCE + _PROBE_PATIENCE) + seconds + _MORE
        return _on_master(state, f"{gate} && {drain_script(name, seconds)}", longest)


def bring_back(state: State, host: Host) -> bool:
    """Uncordon the node of `host` if a change drained it; return whether that succeeded."""
    name = node_of(host).name
    uncordon = until(_command("uncordon.sh", name, DRAINED), _UNCORDON_PATIENCE, f"{name}: takes no pods yet")
    with show_wait(host, "its Node to take pods"):
        taken = _on_master(state, uncordon, 15 * _UNCORDON_PATIENCE + _MORE)
    return taken and _asked(host, f"rm -f {TAKEN_OUT}", _FILE_PATIENCE)


def _command(file: str, *arguments: str) -> str:
    return f"{shlex.join(['sh', '-c', script(f'control_plane/{file}'), file, *arguments])} {KUBECTL}"


def _on_master(state: State, text: str, patience: int) -> bool:
    master = _master(state)
    if not master:
        logger.error("masters: no master answers, so the run cannot drain a node; start one, then run again")
        return False
    return _asked(master, text, patience)


def _asked(host: Host, text: str, patience: int) -> bool:
    """Run a shell text on a host, and log why it failed; return whether it succeeded."""
    try:
        succeeded, output = ask(host, text, patience)
    except (OSError, SSHException, EOFError) as error:
        logger.error(f"{host.print_prefix}does not answer ({type(error).__name__} {error})")
        return False
    for line in () if succeeded else output.output_lines:
        logger.error(line)
    return succeeded


def _master(state: State) -> Host | None:
    """Return a master that answers: if --limit leaves all of them out, this connects to one."""
    masters = [each for each in state.inventory if node_of(each) in cluster_of(state.inventory).masters]
    with _lock:
        for each in sorted(masters, key=lambda each: not each.connected):
            if not each.connected:
                each.connect(show_errors=False)
            if each.connected:
                return each
    return None
