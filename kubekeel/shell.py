"""Shell text for scripts that run on hosts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from kubekeel.render import PROJECT


def assigned(**lists: Iterable[str]) -> list[str]:
    """Return a line for each list of words: the assignment of a shell variable, with spaces between the words."""
    return [f"{name}={shlex.quote(' '.join(words))}" for name, words in lists.items()]


def script(path: str, **lists: Iterable[str]) -> str:
    """Return the shell lines of `files/<path>`, after the assignment of the variables that they use."""
    return "\n".join([*assigned(**lists), (PROJECT / "files" / path).read_text()])
