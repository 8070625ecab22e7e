"""Shell text for scripts that run on hosts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable


def assigned(**lists: Iterable[str]) -> list[str]:
    """Return a line for each list of words: the assignment of a shell variable, with spaces between the words."""
    return [f"{name}={shlex.quote(' '.join(words))}" for name, words in lists.items()]
