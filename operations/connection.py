"""How bytes go to the hosts: pyinfra leaves that to paramiko."""

from __future__ import annotations

import logging

import click
from paramiko import PKey, SSHClient, Transport
from pyinfra import logger
from pyinfra.connectors.sshuserclient.client import AcceptNewPolicy

_TRACEBACKS = 3


def prefer_fast_ciphers() -> None:
    """Offer AES-GCM first, which costs both ends a third less than AES-CTR with an HMAC; config.py calls this."""
    ciphers = Transport._preferred_ciphers  # type: ignore[attr-defined]
    Transport._preferred_ciphers = tuple(sorted(ciphers, key=lambda cipher: "gcm" not in cipher))  # type: ignore[attr-defined]


def keep_tracebacks_for_vvv() -> None:
    """Drop what paramiko logs, unless -vvv asks for it: the run itself reports each lost host; config.py calls this."""
    if click.get_current_context().params["verbosity"] < _TRACEBACKS:
        # Python prints what no handler takes.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())


def keep_no_host_keys() -> None:
    """Believe a host's key at the first contact for this run only, where there is no folder to write it down in."""

    def believe(_: AcceptNewPolicy, client: SSHClient, hostname: str, key: PKey) -> None:  # noqa: ARG001
        logger.warning(f"{hostname}: is met for the first time; its host key is not written down by a run that looks")

    AcceptNewPolicy.missing_host_key = believe  # type: ignore[method-assign]
