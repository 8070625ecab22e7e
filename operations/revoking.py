"""Certificates that were revoked, told to who is to refuse them."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import StringCommand, operation

from kubekeel.pki import Pki
from kubekeel.render import etcd_revocations
from operations.converge import converge


@operation()
def refuse_by_etcd(pki: Pki) -> Generator[StringCommand, None, None]:
    """Have this member refuse what was revoked, at each new connection from now on."""
    yield from converge._inner(files=etcd_revocations(pki))
