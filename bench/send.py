"""A deploy that only sends packed files to hosts: first unchecked like scp, then checked like the real deploy."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api import StringCommand, operation

from bench.brought import brought
from operations.store import INCOMING, Content, send
from operations.target import here
from tasks import preflight

preflight.check()
_target = here()
_binaries, _images = brought(_target.node, _target.cluster, _target.supply)
_files = [each.packed(_target.machine.packing) for each in (*_binaries, *_images)]


@operation()
def send_all() -> Iterator[StringCommand]:
    for packed in _files:
        yield StringCommand(f"cat >{INCOMING}/{packed.name}", _stdin=Content(packed.file))


@operation()
def send_and_check_all() -> Iterator[StringCommand]:
    for packed in _files:
        yield send(packed)


@operation()
def clear() -> Iterator[StringCommand]:
    yield StringCommand(f"find {INCOMING} -type f -delete")


send_all(name="send")
clear(name="clear")
send_and_check_all(name="send and check")
