"""The files that a host ran with before a change, kept until the new ones serve."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from kubekeel.shell import script


def previous(word: str, folder: str, arguments: Iterable[str]) -> str:
    """Return a shell command that keeps files in `folder`, restores them or drops them; see files/node/previous.sh."""
    return shlex.join(["sh", "-c", script("node/previous.sh"), word, folder, *arguments])
