"""A deploy that only sends each host's packed files, as the real one does, and leaves them packed."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api import StringCommand, operation

from kubekeel.needs import needs
from operations.store import send
from operations.target import here
from tasks import preflight

preflight.check()
_target = here()
_wanted = needs(_target.node, _target.cluster)


@operation()
def send_all() -> Iterator[StringCommand]:
    for name in sorted(_wanted.binaries):
        yield send(_target.supply.binary(name, _wanted.arch).packed, f"{name}.gz")
    for name in sorted(_wanted.images):
        yield send(_target.supply.image(name, _wanted.arch).packed, f"{name}.tar.gz")


send_all(name="send")
