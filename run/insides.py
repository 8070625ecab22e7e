"""All that the project does with the insides of pyinfra and paramiko, which they may change with any release.

tests/unit/test_insides.py fails with their next one, until this has been read against it.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from gevent.event import Event
from paramiko import PKey, SSHClient, Transport
from pyinfra import progress, state
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.connectors.sshuserclient.client import AcceptNewPolicy
from pyinfra.connectors.util import CommandOutput, clear_askpass_cache
from pyinfra.context import ctx_state
from pyinfra_cli import cli
from pyinfra_cli.exceptions import UnexpectedExternalError
from pyinfra_cli.inventory import make_inventory
from pyinfra_cli.util import parse_cli_arg

READ_AGAINST = {"pyinfra": "3.10", "paramiko": "4.0"}
"""The releases that this was read against."""

Command = Callable[..., tuple[bool, CommandOutput]]

SHELL_COMMAND: Command = Host.run_shell_command
"""pyinfra's own way to run a command on a host."""


def replace_shell_command(command: Command) -> None:
    """Have pyinfra run each command on a host by this."""
    Host.run_shell_command = command  # type: ignore[method-assign]


def prefer_ciphers(key: Callable[[str], Any]) -> None:
    """Offer ciphers in this order."""
    ciphers = Transport._preferred_ciphers  # type: ignore[attr-defined]
    Transport._preferred_ciphers = tuple(sorted(ciphers, key=key))  # type: ignore[attr-defined]


def keep_no_host_keys(met: Callable[[str], None]) -> None:
    """Call this with the name of each host that shows an unknown key, and write no key down."""

    def believe(_: AcceptNewPolicy, client: SSHClient, hostname: str, key: PKey) -> None:  # noqa: ARG001
        met(hostname)

    AcceptNewPolicy.missing_host_key = believe  # type: ignore[method-assign]


def transport_of(host: Host) -> Transport | None:
    """The connection to a host; None where it has none by SSH."""
    client = getattr(host.connector, "client", None)
    return client and client.get_transport()


def send_at_once(transport: Transport) -> None:
    """Without TCP_NODELAY each command waits about 40 ms for a delayed acknowledgement."""
    # A jump host's channel is no socket.
    if isinstance(transport.sock, socket.socket):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def on_packet(transport: Transport, heard: Callable[[], None]) -> None:
    """Call this for each packet that comes over a connection."""
    read = transport.packetizer.read_message

    def read_message() -> Any:
        message = read()
        heard()
        return message

    transport.packetizer.read_message = read_message  # type: ignore[method-assign]


def reconnect(host: Host) -> bool:
    """Connect again to a host that has restarted; whether it can be connected to by now.

    pyinfra's own way to disconnect says that the run is done with the host.
    """
    # What pyinfra keeps there for sudo is gone with the restart.
    clear_askpass_cache(host)
    host.connector.disconnect()
    host.connected = False
    host.connect(show_errors=False)
    return bool(host.connected)


def connector_arguments(host: Host) -> dict[str, Any]:
    """By which rights and in which way facts are asked for on a host."""
    found, _ = pop_global_arguments(host.state, host, {})
    return {key: value for key, value in found.items() if key in CONNECTOR_ARGUMENT_KEYS}


def order_operations(order: Callable[[Sequence[Sequence[str]], Callable[[str], Any]], list[str]]) -> None:
    """Have a run take its operations in this order, of what each host has and of the line of each operation."""
    state.get_op_order = lambda: order(  # type: ignore[method-assign]
        [host.op_hash_order for host in state.inventory], lambda operation: state.op_meta[operation].op_order
    )


def order_hosts() -> None:
    """Have a run take hosts in the order of the inventory; pyinfra takes them out of a set."""

    def active(inventory: Inventory) -> list[Host]:
        return [host for host in inventory if host in inventory.state.active_hosts]

    Inventory.get_active_hosts = active  # type: ignore[method-assign, assignment]


def call_back(*handlers: BaseStateCallback) -> None:
    """Have pyinfra call these from its first connection on.

    pyinfra forgets the handlers it had when it reads the inventory, which is after config.py.
    """
    initialise = state.init

    def initialised(*arguments: Any, **options: Any) -> None:
        initialise(*arguments, **options)
        for handler in handlers:
            state.add_callback_handler(handler)  # type: ignore[no-untyped-call]

    state.init = initialised  # type: ignore[method-assign]


def before_changes(say: Callable[[State], None]) -> None:
    """Have pyinfra call this before it lists the operations that would change something; with -y it lists none."""
    listed = cli.print_meta

    def print_meta(state: State) -> None:
        say(state)
        listed(state)

    cli.print_meta = print_meta


def has_spinner() -> bool:
    """Whether this is a terminal on which pyinfra turns a line while it works."""
    return bool(progress.IS_TTY) and os.environ.get("PYINFRA_PROGRESS") != "off"


def replace_spinner(draw: Callable[[str], str]) -> None:
    """Have pyinfra write this in the place of the line that it turns; it ends where that line begins."""

    def print_spinner(stop_event: Event, messages: Sequence[str]) -> None:
        while has_spinner() and not stop_event.is_set():
            progress.WAIT_CHARS.rotate(1)
            sys.stderr.write(draw(f"    {progress.WAIT_CHARS[0]} {messages[-1]}"))
            sys.stderr.flush()
            # This is kept until the next output, before which it clears all from the cursor on.
            sys.stderr.write("\033[J")
            stop_event.wait(timeout=progress.WAIT_TIME)

    progress._print_spinner = print_spinner


def leave_out(is_out: Callable[[Host], bool]) -> None:
    """Have pyinfra leave these hosts out of the run, as its --exclude does."""
    initialise = state.init

    def initialised(inventory: Inventory, config: Any, initial_limit: Sequence[Host] | None = None) -> None:
        limit = list(inventory) if initial_limit is None else initial_limit
        initialise(inventory, config, initial_limit=[host for host in limit if not is_out(host)])

    state.init = initialised  # type: ignore[method-assign]


def forgive(hosts: Iterable[Host]) -> None:
    """Have pyinfra not count these hosts, which it could not connect to, as failed."""
    state.failed_hosts -= set(hosts)


def end_what_waits() -> None:
    """Make room in the pool in which pyinfra speaks to hosts: to disconnect needs a place there."""
    if state.initialised:
        state.pool.kill(block=False)


def read_inventory(path: Path, **options: Any) -> Inventory:
    """The inventory in a file as pyinfra loads it; raises whatever that Python file does."""
    inventory: Inventory = make_inventory(str(path), cwd=os.getcwd(), **options)
    return inventory


def read_inventory_alone(path: Path) -> Inventory:
    """The same for programs other than pyinfra."""
    # pyinfra notes in its state which file it is reading.
    with ctx_state.use(State()):
        return read_inventory(path)


def read_argument(text: str) -> Any:
    """What pyinfra makes of the value of --data."""
    return parse_cli_arg(text)


def cause(error: Exception) -> tuple[str, Exception] | None:
    """The file of the user's own, and what was raised in it, where pyinfra says so."""
    return (error.filename, error.exception) if isinstance(error, UnexpectedExternalError) else None
