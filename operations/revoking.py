"""Makes etcd refuse revoked certificates."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api import StringCommand, operation

from kubekeel.pki import Pki
from kubekeel.render import etcd_revocations
from operations.converge import converge


@operation()
def refuse_by_etcd(pki: Pki) -> Generator[StringCommand, None, None]:
    """Make this member refuse the revoked certificates at each new connection."""
    yield from converge._inner(files=etcd_revocations(pki))
