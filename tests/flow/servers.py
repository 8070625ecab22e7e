"""Local servers that answer like hosts that refuse every login."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread

import paramiko


@dataclass(frozen=True)
class SshServer:
    """An SSH server that refuses every login; `logins` lists the users who accepted its key."""

    port: int
    key: paramiko.PKey
    logins: list[str] = field(default_factory=list)


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Yield a port that passes each connection to `answer`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            answer(connection)

    thread = Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


@contextmanager
def ssh_listening() -> Iterator[SshServer]:
    """Yield an SSH server with its own host key."""
    key, logins = paramiko.ECDSAKey.generate(), list[str]()

    class Server(paramiko.ServerInterface):
        def check_auth_password(self, username: str, password: str) -> int:  # noqa: ARG002
            logins.append(username)
            return int(paramiko.common.AUTH_FAILED)

    def answer(connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        transport.add_server_key(key)
        with suppress(paramiko.SSHException, EOFError):
            transport.start_server(server=Server())

    with listening(answer) as port:
        yield SshServer(port, key, logins)
