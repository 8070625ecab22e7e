"""A deploy that only lets hosts download their packed files: with plain curl, then as the real deploy does."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from pyinfra.api import StringCommand, operation

from bench.brought import brought
from kubekeel.delivery import server
from operations.store import INCOMING, fetch
from operations.target import here
from tasks import preflight

preflight.check()
_target = here()
_server = server(_target.cluster)
_binaries, _images = brought(_target.node, _target.cluster, _target.supply)
_files = [each.packed(_target.machine.packing) for each in (*_binaries, *_images)]
_CLEAR = f"find {INCOMING} -type f -delete"


@operation()
def fetch_by_curl() -> Iterator[StringCommand]:
    assert _server
    urls = shlex.join(_server.url_of(file) for file in _files)
    yield StringCommand(f"cd {INCOMING} && curl --disable --noproxy '*' --fail --silent --remote-name-all {urls}")


@operation()
def check_sums() -> Iterator[StringCommand]:
    yield StringCommand(f"cd {INCOMING} && sha256sum *")


@operation()
def fetch_all() -> Iterator[StringCommand]:
    assert _server
    for file in _files:
        yield fetch(file, _server)


@operation()
def clear() -> Iterator[StringCommand]:
    yield StringCommand(_CLEAR)


fetch_by_curl(name="curl")
check_sums(name="check")
clear(name="clear")
fetch_all(name="fetch")
clear(name="clear again")
