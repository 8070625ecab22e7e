"""Lets programs check the user's settings before these replace the settings in use."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from pyinfra import host
from pyinfra.api import StringCommand, operation

from kubekeel.files import differing
from kubekeel.service import Check
from operations.converge import look, put
from operations.wait import reported
from run.beside import awaited

_NEW = "/run/kubekeel-check"


@operation()
def check(checks: Mapping[str, Check]) -> Generator[StringCommand, None, None]:
    """Make each program check its files that differ from the host's; fails at the first program that refuses them."""
    files = {path: entry for each in checks.values() for path, entry in each.files.items()}
    changed = differing(files, look([], files).paths) if files else {}
    if not changed:
        host.noop("settings do not change")
    for program, each in checks.items():
        if changed.keys() & each.files.keys():
            yield from awaited(host, [program])
            yield put({f"{_NEW}{path}": entry for path, entry in each.files.items()})
            script = f"new={_NEW}\ntrap 'rm -rf {_NEW}' EXIT\n{each.command}"
            yield from reported(f"{program} to check its settings", StringCommand(script))
