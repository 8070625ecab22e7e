"""An SSH server that accepts every login; it prints its port.

It runs commands as this user, and forwards connections to ports of this computer, whichever host they name.
"""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress
from threading import Event, Thread

import paramiko
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED


class Server(paramiko.ServerInterface):
    def __init__(self) -> None:
        self.forwarded: dict[int, int] = {}
        """The ports of this computer, by channel."""

    def check_auth_password(self, username: str, password: str) -> int:  # noqa: ARG002
        return AUTH_SUCCESSFUL

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:  # noqa: ARG002
        return AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        return "password,publickey"

    def check_channel_direct_tcpip_request(self, chanid: int, _: object, destination: tuple[str, int]) -> int:
        self.forwarded[chanid] = destination[1]
        return OPEN_SUCCEEDED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        Thread(target=_run, args=(channel, command.decode()), daemon=True).start()
        return True


def _run(channel: paramiko.Channel, command: str) -> None:
    stdin = b""
    while piece := channel.recv(1 << 16):
        stdin += piece
    with suppress(OSError):
        done = subprocess.run(["sh", "-c", command], input=stdin, capture_output=True, check=False)
        channel.sendall(done.stdout)
        channel.sendall_stderr(done.stderr)
        channel.send_exit_status(done.returncode)
    channel.close()


def _forward(transport: paramiko.Transport, server: Server) -> None:
    """Connect each forwarded channel to its port."""
    # paramiko closes a channel that nobody holds, and a command may come only after the next channel.
    held = []
    while transport.is_active():
        channel = transport.accept(1)
        held.append(channel)
        if channel and (port := server.forwarded.get(channel.chanid)):
            target = socket.create_connection(("127.0.0.1", port))
            for source, sink in ((channel, target), (target, channel)):
                Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: paramiko.Channel | socket.socket, sink: paramiko.Channel | socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
    sink.close()


def serve() -> None:
    key = paramiko.ECDSAKey.generate()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            transport, server = paramiko.Transport(connection), Server()
            transport.add_server_key(key)
            transport.start_server(event=Event(), server=server)
            Thread(target=_forward, args=(transport, server), daemon=True).start()


if __name__ == "__main__":
    serve()
