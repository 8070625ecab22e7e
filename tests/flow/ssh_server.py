"""An SSH server that accepts every login and runs commands as this user; it prints its port."""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress
from threading import Event, Thread

import paramiko


class Server(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:  # noqa: ARG002
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        return paramiko.OPEN_SUCCEEDED

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


def serve() -> None:
    key = paramiko.ECDSAKey.generate()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            transport.start_server(event=Event(), server=Server())


if __name__ == "__main__":
    serve()
