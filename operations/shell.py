"""Commands that run scripts on hosts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from pyinfra.api import StringCommand

from kubekeel.shell import assigned, script


def run(scripts: Iterable[str], *arguments: str, **lists: Iterable[str]) -> StringCommand:
    """Return one command that runs these scripts of the folder `files` as one, with the lists of words they use."""
    lines = [line for path in scripts for line in script(path).splitlines()]
    return StringCommand(f"sh -s {shlex.join(arguments)}", _stdin=[*assigned(**lists), *lines])
