"""All use of the internals of pyinfra and paramiko, which may change with any release.

tests/unit/test_insides.py fails with their next release, until somebody has compared this file with it.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from inspect import Traceback
from pathlib import Path
from traceback import walk_stack
from types import FrameType
from typing import Any

import click
from gevent.event import Event
from paramiko import PKey, SSHClient, Transport
from pyinfra import progress, state
from pyinfra.api import arguments, connectors, util
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import BaseStateCallback, State, StateStage
from pyinfra.connectors.sshuserclient.client import AcceptNewPolicy
from pyinfra.connectors.util import CommandOutput, clear_askpass_cache
from pyinfra.context import ctx_host, ctx_state
from pyinfra_cli import cli
from pyinfra_cli.exceptions import UnexpectedExternalError
from pyinfra_cli.inventory import make_inventory
from pyinfra_cli.util import parse_cli_arg

READ_AGAINST = {"pyinfra": "3.10", "paramiko": "4.0"}
"""The releases that this file was compared with."""

# The beginnings of pyinfra's messages about failed connections, and words of paramiko's that they quote.
LOGIN_REFUSED = "Authentication error"
HOST_KEY_REFUSED = "SSH host key error"
NO_COMMON_ALGORITHM = "no acceptable"

Command = Callable[..., tuple[bool, CommandOutput]]

SHELL_COMMAND: Command = Host.run_shell_command
"""pyinfra's own way to run a command on a host."""


def replace_shell_command(command: Command) -> None:
    """Make pyinfra run each command on a host by `command`."""
    Host.run_shell_command = command  # type: ignore[method-assign]


def prefer_ciphers(key: Callable[[str], Any]) -> None:
    """Offer ciphers in the order of `key`."""
    ciphers = Transport._preferred_ciphers  # type: ignore[attr-defined]
    Transport._preferred_ciphers = tuple(sorted(ciphers, key=key))  # type: ignore[attr-defined]


def keep_no_host_keys(met: Callable[[str], None]) -> None:
    """Call `met` with the name of each host that shows an unknown key, and store no key."""

    def accept(_: AcceptNewPolicy, client: SSHClient, hostname: str, key: PKey) -> None:  # noqa: ARG001
        met(hostname)

    AcceptNewPolicy.missing_host_key = accept  # type: ignore[method-assign]


def transport_of(host: Host) -> Transport | None:
    """Return the connection to a host; None without one by SSH."""
    client = getattr(host.connector, "client", None)
    return client and client.get_transport()


def send_at_once(transport: Transport) -> None:
    """Set TCP_NODELAY: without it each command waits about 40 ms for a delayed acknowledgement."""
    # A jump host's channel is not a socket.
    if isinstance(transport.sock, socket.socket):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def on_packet(transport: Transport, heard: Callable[[], None]) -> None:
    """Call `heard` for each packet that comes over a connection."""
    read = transport.packetizer.read_message

    def read_message() -> Any:
        message = read()
        heard()
        return message

    transport.packetizer.read_message = read_message  # type: ignore[method-assign]


def reconnect(host: Host) -> bool:
    """Connect again to a host that has restarted; return whether that succeeded.

    pyinfra's own disconnect would end the host's part in the run.
    """
    # The restart deleted pyinfra's helper for sudo on the host.
    clear_askpass_cache(host)
    host.connector.disconnect()
    host.connected = False
    host.connect(show_errors=False)
    return bool(host.connected)


def arguments_of_facts(host: Host) -> dict[str, Any]:
    """Return the arguments of a fact's command on a host: user, sudo, shell and the like, and what -v shows."""
    found, _ = pop_global_arguments(host.state, host, {})
    of_connector = {key: value for key, value in found.items() if key in CONNECTOR_ARGUMENT_KEYS}
    return {**of_connector, "print_output": host.state.print_fact_output, "print_input": host.state.print_fact_input}


def order_operations(order: Callable[[Sequence[Sequence[str]], Callable[[str], Any]], list[str]]) -> None:
    """Make a run take its operations in the order that `order` returns.

    `order` takes each host's operations, and a function that returns the line of an operation.
    """
    state.get_op_order = lambda: order(  # type: ignore[method-assign]
        [host.op_hash_order for host in state.inventory], lambda operation: state.op_meta[operation].op_order
    )


def order_hosts() -> None:
    """Make a run take hosts in inventory order; pyinfra takes them out of a set."""

    def active(inventory: Inventory) -> list[Host]:
        return [host for host in inventory if host in inventory.state.active_hosts]

    Inventory.get_active_hosts = active  # type: ignore[method-assign, assignment]


def do_repeated_work_once() -> None:
    """Make pyinfra find its connectors and read the types of its arguments once, not for each host and operation.

    It also reads source files to learn the line of each call; the frame itself has it.
    """
    connectors.entry_points = cache(connectors.entry_points)
    arguments.all_global_arguments = cache(arguments.all_global_arguments)
    util.stack = _frames  # type: ignore[assignment]
    util.getframeinfo = _line  # type: ignore[assignment]


def _frames() -> list[tuple[FrameType]]:
    return [(frame,) for frame, _ in walk_stack(sys._getframe(1))]


def _line(frame: FrameType) -> Traceback:
    code = frame.f_code
    return Traceback(code.co_filename, frame.f_lineno, code.co_name, code_context=None, index=None)


def command_line() -> Mapping[str, Any]:
    """Return the values of pyinfra's command line by name; empty in other programs, and in a host's greenlet."""
    context = click.get_current_context(silent=True)
    return context.params if context else {}


def at_end(call: Callable[[], None]) -> None:
    """Make pyinfra call this before its program ends, however the run went."""
    click.get_current_context().call_on_close(call)


def call_back(*handlers: BaseStateCallback) -> None:
    """Make pyinfra call these handlers from its first connection on.

    pyinfra drops all handlers when it reads the inventory, after config.py.
    """
    initialise = state.init

    def initialised(*arguments: Any, **options: Any) -> None:
        initialise(*arguments, **options)
        for handler in handlers:
            state.add_callback_handler(handler)  # type: ignore[no-untyped-call]

    state.init = initialised  # type: ignore[method-assign]


def handlers(state: State) -> Sequence[BaseStateCallback]:
    """Return the handlers that pyinfra calls."""
    return state.callback_handlers


def before_changes(say: Callable[[State], None]) -> None:
    """Make pyinfra call `say` before it lists the operations with changes; with -y it lists none."""
    listed = cli.print_meta

    def print_meta(state: State) -> None:
        say(state)
        listed(state)

    cli.print_meta = print_meta


def changing(state: State, host: Host) -> Iterator[str]:
    """Yield the names of the operations that certainly change a host; only in a run without -y."""
    for op_hash, operation in state.ops[host].items():
        if operation.operation_meta.will_change and not operation.global_arguments["_if"]:
            yield from state.get_op_meta(op_hash).names


def names(state: State, operation: str) -> str:
    """Return the names of an operation, which pyinfra hands to callbacks as a hash."""
    return ", ".join(sorted(state.get_op_meta(operation).names))


def is_serial(state: State, operation: str) -> bool:
    """Whether an operation takes hosts one by one."""
    return bool(state.get_op_meta(operation).global_arguments["_serial"])


def takes_part(state: State, host: Host, operation: str) -> bool:
    """Whether a host has an operation."""
    return operation in state.ops[host]


def has_done(state: State, host: Host, operation: str) -> bool:
    """Whether a host has ended its part of an operation."""
    return state.ops[host][operation].operation_meta.is_complete()


def has_changed(state: State, host: Host, operation: str | None) -> bool:
    """Whether a host has ended its part of an operation, and that changed something."""
    data = state.ops[host].get(operation or "")
    return bool(data and data.operation_meta.is_complete() and data.operation_meta.did_change())


def has_failed(state: State, host: Host) -> bool:
    """Whether an operation has failed on a host."""
    return state.get_results_for_host(host).error_ops > 0


def prepared(host: Host) -> str | None:
    """Return the operation whose commands pyinfra asks for at the moment."""
    return host.current_op_hash


def at_work(host: Host) -> str:
    """Return the names of the operation that a host carries out or prepares; empty if there is none."""
    operation = host.executing_op_hash or host.current_op_hash
    return names(host.state, operation) if operation else ""


def independent(host: Host) -> Iterator[Callable[[], Iterator[Any]]]:
    """Yield for each operation of a host that depends on no other one the function that begins it."""
    for operation in host.op_hash_order:
        data = host.state.ops[host][operation]
        if not data.global_arguments.get("_if"):
            yield data.command_generator


@contextmanager
def facts_from(host: Host, get_fact: Callable[..., Any]) -> Iterator[None]:
    """Make operations of a host that begin in this block get facts from `get_fact`."""
    host.get_fact = get_fact  # type: ignore[method-assign]
    try:
        with ctx_host.use(host):
            yield
    finally:
        del host.get_fact


def has_spinner() -> bool:
    """Whether this is a terminal on which pyinfra shows its spinner."""
    return bool(progress.IS_TTY) and os.environ.get("PYINFRA_PROGRESS") != "off"


def replace_spinner(draw: Callable[[str], str]) -> None:
    """Make pyinfra write the result of `draw` in place of its spinner; the cursor must end where the line begins."""

    def print_spinner(stop_event: Event, messages: Sequence[str]) -> None:
        while has_spinner() and not stop_event.is_set():
            progress.WAIT_CHARS.rotate(1)
            sys.stderr.write(draw(f"    {progress.WAIT_CHARS[0]} {messages[-1]}"))
            sys.stderr.flush()
            # stderr buffers this until the next output: it then clears the screen from the cursor on.
            sys.stderr.write("\033[J")
            stop_event.wait(timeout=progress.WAIT_TIME)

    progress._print_spinner = print_spinner


def leave_out(is_out: Callable[[Host], bool]) -> None:
    """Make pyinfra leave the hosts for which `is_out` holds out of the run, as its --exclude does."""
    initialise = state.init

    def initialised(inventory: Inventory, config: Any, initial_limit: Sequence[Host] | None = None) -> None:
        limit = list(inventory) if initial_limit is None else initial_limit
        initialise(inventory, config, initial_limit=[host for host in limit if not is_out(host)])

    state.init = initialised  # type: ignore[method-assign]


def go_on_without_connections(unreached: Callable[[str, str], None]) -> None:
    """Make pyinfra go on after failed connections; call `unreached` with each such host and what pyinfra says of it."""
    logging.getLogger("pyinfra").addHandler(_Unreached(unreached))
    state.should_raise_failed_hosts = lambda state: state.current_stage != StateStage.Connect


class _Unreached(logging.Handler):
    """Reads pyinfra's log about hosts that it cannot connect to: "[host] why"."""

    def __init__(self, unreached: Callable[[str, str], None]) -> None:
        super().__init__()
        self._unreached = unreached

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.ERROR and state.current_stage == StateStage.Connect:
            name, _, said = click.unstyle(str(record.msg)).partition("]")
            self._unreached(name.strip().removeprefix("["), said.strip())


def forget_failures(hosts: Iterable[Host]) -> None:
    """Remove these unreachable hosts from pyinfra's failed hosts."""
    state.failed_hosts -= set(hosts)


def end_what_waits() -> None:
    """Free pyinfra's pool of greenlets: disconnecting needs a place there."""
    if state.initialised:
        state.pool.kill(block=False)


def read_inventory(path: Path, **options: Any) -> Inventory:
    """Return the inventory in a file as pyinfra loads it; raises whatever that Python file raises."""
    inventory: Inventory = make_inventory(str(path), cwd=os.getcwd(), **options)
    return inventory


def read_inventory_alone(path: Path) -> Inventory:
    """Return the inventory in a file, for programs other than pyinfra."""
    # pyinfra records in its state which file it reads.
    with ctx_state.use(State()):
        return read_inventory(path)


def read_argument(text: str) -> Any:
    """Return the value of --data as pyinfra parses it."""
    return parse_cli_arg(text)


def cause(error: Exception) -> tuple[str, Exception] | None:
    """Return the user's file in which `error` was raised, and the original exception, if pyinfra names them."""
    return (error.filename, error.exception) if isinstance(error, UnexpectedExternalError) else None
