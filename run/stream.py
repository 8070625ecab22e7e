"""Files to and from a host in pieces, by its shell: with sudo, pyinfra's own transfers expose them in /tmp."""

from __future__ import annotations

import shlex
from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path

from paramiko import SSHException
from pyinfra.api.host import Host

from run.ask import ask
from run.connection import Unreachable
from run.waits import show_wait

PIECE = 8 << 20
_LINE = 1 << 16
_PATIENCE = 300


class Broken(Exception):
    """A transfer that a host ended: its name and its error output."""


def fetch(host: Host, path: str, target: Path) -> None:
    """Copy a host's file to `target`, with mode 0600 from its first byte. Raises Broken."""
    target.unlink(missing_ok=True)
    target.touch(0o600)
    with show_wait(host, f"{path} to be copied here"), target.open("wb") as file:
        while True:
            number = file.tell() // PIECE
            script = f"dd if={shlex.quote(path)} bs={PIECE} skip={number} count=1 status=none | base64 -w {_LINE}"
            piece = b64decode("".join(_output(host, script)))
            file.write(piece)
            if len(piece) < PIECE:
                return


def send(host: Host, pieces: Iterable[bytes], path: str) -> None:
    """Write `pieces` in order into a file on a host that only root can read. Raises Broken."""
    quoted = shlex.quote(path)
    with show_wait(host, f"{path} to be copied there"):
        _output(host, f"umask 077; : >{quoted}")
        for piece in pieces:
            text = b64encode(piece).decode()
            _output(host, f"base64 -d >>{quoted}", [text[at : at + _LINE] for at in range(0, len(text), _LINE)])


def _output(host: Host, script: str, stdin: Iterable[str] = ()) -> list[str]:
    try:
        succeeded, output = ask(host, script, _PATIENCE, stdin=list(stdin), quiet=True)
    except Unreachable as error:
        raise Broken(error.fault) from error
    except (OSError, SSHException, EOFError) as error:
        remedy = "log in by ssh, and find out why"
        raise Broken(f"{host.name}: does not answer ({type(error).__name__} {error}); {remedy}") from error
    if not succeeded:
        raise Broken(f"{host.name}: {' '.join(output.stderr_lines) or 'the transfer ended early'}")
    return output.stdout_lines
