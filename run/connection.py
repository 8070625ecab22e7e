"""The connections to hosts, and how a run notices an unreachable host: pyinfra leaves both to paramiko."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import gevent
from paramiko import SSHException, Transport
from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.connectors.util import CommandOutput, OutputLine

from run import insides
from run.insides import SHELL_COMMAND, at_work, command_line, on_packet, send_at_once, transport_of

_TRACEBACKS = 3
_INTERVAL = 10
"""Seconds of silence after which the run sends a host a keepalive."""
_UNANSWERED = 4
"""The number of unanswered keepalives in a row that make a host unreachable."""
_SILENT = "kubekeel_silent"
_LIMIT_HOURS = 4
"""The time for a command without a limit of its own; every wait that follows progress ends sooner."""


def prefer_fast_ciphers() -> None:
    """Offer AES-GCM first: it costs both ends a third less than AES-CTR with an HMAC; config.py calls this."""
    insides.prefer_ciphers(lambda cipher: "gcm" not in cipher)


def keep_tracebacks_for_vvv() -> None:
    """Drop paramiko's log without -vvv, since the run itself reports each lost host; config.py calls this."""
    if command_line()["verbosity"] < _TRACEBACKS:
        # Without a handler Python prints the log.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())


def keep_no_host_keys() -> None:
    """Trust a host's key at the first contact for this run only: a run that only looks stores nothing."""
    insides.keep_no_host_keys(
        lambda name: logger.warning(
            f"{name}: is contacted for the first time; a run that only looks does not store its host key"
        )
    )


class Unreachable(ConnectionError):
    """A lost connection: the host's name, and the reason."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(why)
        self.fault = f"{host}: is unreachable ({why}); start it, or leave it out: --exclude {host}"


class Watch(BaseStateCallback):
    """Makes each connection send at once, and closes it when the host no longer answers.

    A long command is no problem, since sshd answers meanwhile. TCP alone would wait a quarter of an hour for an
    unreachable host, and for ever when it has nothing to send.
    """

    def host_connect(self, state: State, host: Host) -> None:  # type: ignore[override]  # noqa: ARG002
        if transport := transport_of(host):
            send_at_once(transport)
            gevent.spawn(_watch, host, transport)


def run_shell_command(host: Host, *arguments: Any, **options: Any) -> tuple[bool, CommandOutput]:
    """Run a command as pyinfra does, with a limit; if it is lost or too slow, end its output with that fault."""
    limit = options.get("_timeout")
    try:
        succeeded, output = SHELL_COMMAND(host, *arguments, **{**options, "_timeout": limit or _LIMIT_HOURS * 3600})
    except (OSError, SSHException, EOFError) as error:
        too_slow = isinstance(error, TimeoutError) and not limit
        if not (fault := _fault(host) or (_too_slow(host) if too_slow else "")):
            raise
        succeeded, output = False, CommandOutput([])
    else:
        fault = "" if succeeded else _fault(host)
    if fault:
        output.combined_lines.append(OutputLine("stderr", fault))
        if options.get("print_output"):
            # pyinfra has printed the output already.
            logger.error(fault)
    return succeeded, output


def _fault(host: Host) -> str:
    lost = loss(host)
    return lost.fault if lost else ""


def _too_slow(host: Host) -> str:
    remedy = "log in, and see what it waits for: it may still run there; then run the same command again"
    return f"{host.name}: a command has not ended in {_LIMIT_HOURS} h ({at_work(host) or 'a look'}); {remedy}"


def loss(host: Host) -> Unreachable | None:
    """Return why a connected host became unreachable; None while its connection lives."""
    transport = transport_of(host)
    if not transport or transport.is_active():
        return None
    return Unreachable(host.name, host.connector_data.get(_SILENT, "the connection was lost"))


def _watch(host: Host, transport: Transport) -> None:
    heard = _Heard(transport)
    unanswered = 0
    while transport.is_active():
        gevent.sleep(_INTERVAL)
        if heard.anything():
            unanswered = 0
            continue
        unanswered += 1
        if unanswered == _UNANSWERED:
            host.connector_data[_SILENT] = f"no answer for {_INTERVAL * _UNANSWERED} s"
            transport.close()
        else:
            # Not by this greenlet: sending to an unreachable host may block for ever.
            gevent.spawn(_request_answer, transport)


def _request_answer(transport: Transport) -> None:
    """Send a request that sshd does not know: it must answer with a failure (RFC 4254, 4)."""
    with suppress(OSError, SSHException, EOFError):
        transport.global_request("keepalive@openssh.com", wait=True)


class _Heard:
    """The packets that came over a connection since the last call of `anything`.

    A slow host that receives much data answers a keepalive late, but it acknowledges the data all the time.
    """

    def __init__(self, transport: Transport) -> None:
        self._packets = 0
        on_packet(transport, self._count)

    def _count(self) -> None:
        self._packets += 1

    def anything(self) -> bool:
        packets, self._packets = self._packets, 0
        return packets > 0
