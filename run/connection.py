"""How bytes go to the hosts, and how a host that no longer answers is noticed: pyinfra leaves that to paramiko."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import click
import gevent
from paramiko import SSHException, Transport
from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.connectors.util import CommandOutput, OutputLine

from run import insides
from run.insides import SHELL_COMMAND, on_packet, send_at_once, transport_of

_TRACEBACKS = 3
_INTERVAL = 10
"""After how many seconds without a sign of life a host is asked for one."""
_UNANSWERED = 4
"""How many of these in a row make a host unreachable."""
_SILENT = "kubekeel_silent"


def prefer_fast_ciphers() -> None:
    """Offer AES-GCM first, which costs both ends a third less than AES-CTR with an HMAC; config.py calls this."""
    insides.prefer_ciphers(lambda cipher: "gcm" not in cipher)


def keep_tracebacks_for_vvv() -> None:
    """Drop what paramiko logs, unless -vvv asks for it: the run itself reports each lost host; config.py calls this."""
    if click.get_current_context().params["verbosity"] < _TRACEBACKS:
        # Python prints what no handler takes.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())


def keep_no_host_keys() -> None:
    """Believe a host's key at the first contact for this run only, where there is no folder to write it down in."""
    insides.keep_no_host_keys(
        lambda name: logger.warning(
            f"{name}: is contacted for the first time; a run that only looks does not store its host key"
        )
    )


class Unreachable(ConnectionError):
    """The connection to a host is gone: its name and why."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(why)
        self.fault = f"{host}: is unreachable ({why}); start it, or leave it out: --exclude {host}"


class Watch(BaseStateCallback):
    """Makes each connection send at once, and closes it when the host no longer answers.

    A command may take its time, since sshd answers meanwhile. TCP alone would wait a quarter of an hour for a host
    that is gone, and for ever where nothing is to be sent to it.
    """

    def host_connect(self, state: State, host: Host) -> None:  # type: ignore[override]  # noqa: ARG002
        if transport := transport_of(host):
            send_at_once(transport)
            gevent.spawn(_watch, host, transport)


def run_shell_command(host: Host, *arguments: Any, **options: Any) -> tuple[bool, CommandOutput]:
    """As pyinfra's own; where the connection is gone, the output of the failed command ends with that."""
    try:
        succeeded, output = SHELL_COMMAND(host, *arguments, **options)
    except (OSError, SSHException, EOFError):
        if not loss(host):
            raise
        succeeded, output = False, CommandOutput([])
    if not succeeded and (lost := loss(host)):
        output.combined_lines.append(OutputLine("stderr", lost.fault))
        if options.get("print_output"):
            # pyinfra has printed the output already.
            logger.error(lost.fault)
    return succeeded, output


def loss(host: Host) -> Unreachable | None:
    """Why a host that was connected can no longer be spoken to."""
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
            # Not by this greenlet: what is to be sent to a host that is gone may wait for ever.
            gevent.spawn(_request_answer, transport)


def _request_answer(transport: Transport) -> None:
    """What sshd answers to a request that it does not know: that it does not know it (RFC 4254, 4)."""
    with suppress(OSError, SSHException, EOFError):
        transport.global_request("keepalive@openssh.com", wait=True)


class _Heard:
    """Whether anything came over a connection since it was asked last.

    While much is sent to a slow host, its answer to a request may be long in coming; that it takes what is sent
    is heard all the time.
    """

    def __init__(self, transport: Transport) -> None:
        self._packets = 0
        on_packet(transport, self._count)

    def _count(self) -> None:
        self._packets += 1

    def anything(self) -> bool:
        packets, self._packets = self._packets, 0
        return packets > 0
