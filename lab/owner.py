"""The clone's owner, to whom all files in the clone must belong, even if root makes them."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.shape import PROJECT


def as_owner(command: Sequence[str]) -> list[str]:
    """Return a command line that runs `command` as the clone's owner, if this is root in another user's clone."""
    if not _is_guest():
        return list(command)
    clone = PROJECT.stat()
    try:
        user = pwd.getpwuid(clone.st_uid)
        name, home, cache = user.pw_name, user.pw_dir, []
    except KeyError:
        # In a container with a mounted clone the owner has no account, and so no home.
        name, home, cache = str(clone.st_uid), "/nonexistent", ["UV_NO_CACHE=1"]
    become = ["setpriv", f"--reuid={clone.st_uid}", f"--regid={clone.st_gid}", "--clear-groups", "--"]
    return [*become, "env", f"HOME={home}", f"USER={name}", f"LOGNAME={name}", *cache, *command]


def keep_bytecode_out() -> None:
    """Make root's Python and its child processes keep their bytecode out of another user's clone."""
    if not _is_guest():
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubekeel" / "bytecode"
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(cache)
    clone = PROJECT.stat()
    # Python has already compiled this module and those imported before it.
    for folder in PROJECT.glob("*/__pycache__"):
        for path in (folder, *folder.iterdir()):
            os.chown(path, clone.st_uid, clone.st_gid, follow_symlinks=False)


def _is_guest() -> bool:
    return os.geteuid() == 0 and PROJECT.stat().st_uid != 0
