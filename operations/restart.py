"""Restarts hosts: drains each, runs a command, reboots it, and waits until all its services are healthy."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence

import gevent
from paramiko import SSHException
from pyinfra import host, logger
from pyinfra.api import FactBase, FunctionCommand, StringCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel.files import File
from kubekeel.restart import DONE, MARK, REQUIRED, Marks, Restart
from kubekeel.service import Service
from operations.converge import put, refuse, waiting
from operations.drain import bring_back, take_out
from operations.etcd import ETCDCTL
from operations.turns import stopped_before
from operations.wait import failed_wait, reported, until
from run.ask import ask
from run.insides import reconnect
from run.waits import show_wait

_MEMBERS_PATIENCE, _REBOOT_PATIENCE, _ANSWER_PATIENCE, _COMMAND_PATIENCE = 60, 1800, 60, 4 * 3600
_SHOWN = 20
_BOOT = "cat /proc/sys/kernel/random/boot_id"


class Seen(FactBase[Marks]):
    """A host's marks of requested restarts."""

    default = Marks

    def command(self) -> str:
        return f"sed 's/^/pending /' {MARK} 2>/dev/null; sed 's/^/done /' {DONE} 2>/dev/null; true"

    def process(self, output: Iterable[str]) -> Marks:
        return Marks(**{kind: content for kind, _, content in (line.partition(" ") for line in output)})


@operation()
def want(restart: Restart, round: str) -> Generator[StringCommand, None, None]:
    """Record on the host that it must restart, so that a later run can continue an interrupted one."""
    yield put({MARK: File(restart.mark(round).encode())})


@operation()
def restart_host(
    restart: Restart, services: Sequence[Service], member: bool, drain_seconds: int | None
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Restart a host; call this with `_serial=True`, or with `_parallel`; the first failure ends the run.

    A `member` of etcd waits until all members are healthy. With `drain_seconds` the node is drained first.
    """
    if failure := stopped_before():
        yield failure
        return
    if member:
        complaint = f"{host.name}: is not restarted, since a member of etcd is not healthy; repair that first"
        gate = until(f"{ETCDCTL} endpoint health --cluster", _MEMBERS_PATIENCE, complaint)
        yield from reported("the members of etcd", StringCommand(gate))
    if drain_seconds is not None:
        yield FunctionCommand(take_out, (drain_seconds,), {})
    if restart.command:
        yield FunctionCommand(_run, (restart.command, drain_seconds is not None), {})
    yield FunctionCommand(_reboot, (restart,), {})
    for service in services:
        if lines := failed_wait(service.unit, waiting(service, service.patience), service.patience):
            yield refuse("\n".join(lines))
    if drain_seconds is not None:
        yield FunctionCommand(bring_back, (), {})
    yield StringCommand("mv", MARK, DONE)


def _run(state: State, host: Host, command: str, drained: bool) -> bool:
    """Run the user's command; if it fails, the node takes pods as before."""
    try:
        succeeded, output = ask(host, command, _COMMAND_PATIENCE)
        lines = output.output_lines
    except (OSError, SSHException, EOFError) as error:
        succeeded, lines = False, [f"{type(error).__name__} {error}"]
    if succeeded:
        return True
    for line in lines[-_SHOWN:]:
        logger.error(f"{host.print_prefix}{line}")
    logger.error(f"{host.name}: the command failed, see above; correct that, then run this again")
    if drained:
        bring_back(state, host)
    return False


def _reboot(state: State, host: Host, restart: Restart) -> bool:  # noqa: ARG001 - pyinfra's signature
    try:
        if restart.reboot == "never" or (restart.reboot == "needed" and not _is_required(host)):
            logger.info(f"{host.print_prefix}needs no reboot")
            return True
        before = _output(host, _BOOT)
        logger.info(f"{host.print_prefix}reboots")
        # In the background, so that the answer to this command is not lost.
        _output(host, "(sleep 1; systemctl reboot) >/dev/null 2>&1 </dev/null &")
    except (OSError, SSHException, EOFError) as error:
        logger.error(f"{host.name}: does not answer ({type(error).__name__} {error})")
        return False
    end = time.monotonic() + _REBOOT_PATIENCE
    with show_wait(host, "its reboot"):
        while time.monotonic() < end:
            gevent.sleep(2)
            if reconnect(host) and _boot_of(host) not in ("", before):
                return True
    logger.error(
        f"{host.name}: did not come back within {_REBOOT_PATIENCE} s; look at its console, then run this again"
    )
    return False


def _is_required(host: Host) -> bool:
    return _output(host, f"[ ! -e {REQUIRED} ] || echo yes") == "yes"


def _boot_of(host: Host) -> str:
    """Return the ID of a host's boot; empty if it does not answer, as during its shutdown."""
    try:
        return _output(host, _BOOT)
    except (OSError, SSHException, EOFError):
        return ""


def _output(host: Host, script: str) -> str:
    _, output = ask(host, script, _ANSWER_PATIENCE)
    return output.stdout.strip()
