"""Files to and from a host in pieces, by its shell: with sudo, pyinfra's own transfers show them to others in /tmp."""

from __future__ import annotations

import shlex
from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path

from pyinfra.api.host import Host

from run.ask import ask

PIECE = 8 << 20
_LINE = 1 << 16
_PATIENCE = 300


class Broken(Exception):
    """A transfer that a host ended: its name and what it said."""


def fetch(host: Host, path: str, target: Path) -> None:
    """Bring a host's file here; it cannot be read by others, wherever `target` is. Raises Broken."""
    target.unlink(missing_ok=True)
    target.touch(0o600)
    with target.open("wb") as file:
        while True:
            number = file.tell() // PIECE
            script = f"dd if={shlex.quote(path)} bs={PIECE} skip={number} count=1 status=none | base64 -w {_LINE}"
            piece = b64decode("".join(_asked(host, script)))
            file.write(piece)
            if len(piece) < PIECE:
                return


def send(host: Host, pieces: Iterable[bytes], path: str) -> None:
    """Write a file on a host, for root alone, from its pieces in order. Raises Broken."""
    quoted = shlex.quote(path)
    _asked(host, f"umask 077; : >{quoted}")
    for piece in pieces:
        text = b64encode(piece).decode()
        _asked(host, f"base64 -d >>{quoted}", [text[at : at + _LINE] for at in range(0, len(text), _LINE)])


def _asked(host: Host, script: str, given: Iterable[str] = ()) -> list[str]:
    succeeded, output = ask(host, script, _PATIENCE, given=list(given), quiet=True)
    if not succeeded:
        raise Broken(f"{host.name}: {' '.join(output.stderr_lines) or 'the transfer ended early'}")
    return output.stdout_lines
