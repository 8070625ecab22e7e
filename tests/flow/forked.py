"""Runs of pyinfra in this clone, without the time that its imports take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from signal import SIGKILL
from socket import AF_UNIX, SOCK_SEQPACKET, send_fds, socket, socketpair
from tempfile import TemporaryFile

from lab.shape import PROJECT
from tests.flow.forking import Request


@dataclass(frozen=True)
class _Forking:
    """The process that forks the runs; it ends with this one, whose end closes the socket."""

    process: subprocess.Popen[bytes]
    requests: socket

    def answer(self, timeout: float | None = None) -> int:
        self.requests.settimeout(timeout)
        return int(self.requests.recv(100))


@cache
def _forking() -> _Forking:
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    at_once = {"PYINFRA_FAKE_DELAY": "0", "PYINFRA_FAKE_DELAY_JITTER": "0"}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.flow.forking", str(theirs.fileno())],
            cwd=PROJECT, env={**os.environ, **at_once}, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
        )  # fmt: skip
    return _Forking(process, ours)


def run(
    arguments: Sequence[str], environment: Mapping[str, str], timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run pyinfra in the project's folder as `subprocess.run` does, by a fork of a process that has imported it.

    Raises subprocess.TimeoutExpired.
    """
    forking = _forking()
    request = Request(arguments=list(arguments), environment=dict(environment))
    with open(os.devnull) as stdin, TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        files = [file.fileno() for file in (stdin, stdout, stderr)]
        send_fds(forking.requests, [json.dumps(request).encode()], files)
        process = forking.answer()
        try:
            status = forking.answer(timeout)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.kill(process, SIGKILL)
            forking.answer()
            if isinstance(error, TimeoutError):
                raise subprocess.TimeoutExpired(["pyinfra", *arguments], timeout) from None
            raise
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(["pyinfra", *arguments], status, stdout.read(), stderr.read())
