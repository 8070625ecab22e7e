"""Shell text for scripts that run on hosts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from pyinfra.api import StringCommand

from kubekeel.render import PROJECT


def assigned(**lists: Iterable[str]) -> list[str]:
    """Return a line for each list of words: the assignment of a shell variable, with spaces between the words."""
    return [f"{name}={shlex.quote(' '.join(words))}" for name, words in lists.items()]


def run(scripts: Iterable[str], *arguments: str, **lists: Iterable[str]) -> StringCommand:
    """Return one command that runs these scripts of the folder `files` as one, with the lists of words they use."""
    lines = [line for script in scripts for line in (PROJECT / "files" / script).read_text().splitlines()]
    return StringCommand(f"sh -s {shlex.join(arguments)}", _stdin=[*assigned(**lists), *lines])
