"""`python -m tests.flow.forking SOCKET`: import pyinfra and the project once, then fork a run of pyinfra per request.

A request is JSON, and the files of the run's stdin, stdout and stderr. The answers are the run's process id and, when
the run has ended, its return code.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import runpy
import sys
from importlib import import_module

# pyinfra replaces these by gevent's when it is imported; a run would then share the event loop of this process.
from os import fork, waitpid
from socket import AF_UNIX, SOCK_SEQPACKET, recv_fds, socket
from typing import TypedDict

from kubekeel.render import TEMPLATES
from lab.shape import PROJECT

# More than any environment needs.
_SIZE = 1 << 17


class Request(TypedDict):
    """A run's command line after `pyinfra`, and its environment."""

    arguments: list[str]
    environment: dict[str, str]


def _import_all() -> None:
    for name in ("pyinfra_cli.main", "pyinfra.connectors.fake"):
        import_module(name)
    for folder in ("run", "operations", "tasks"):
        for module in pkgutil.iter_modules([str(PROJECT / folder)]):
            import_module(f"{folder}.{module.name}")
    # Compiling them takes a third of the time of a run.
    for template in TEMPLATES.list_templates():
        TEMPLATES.get_template(template)
    # Otherwise each run's first collection would copy the memory that it shares with this process.
    gc.freeze()


def _serve(requests: socket) -> Request | None:
    """Fork a run per request; return its request in the run, and None in this process after the last one."""
    while True:
        message, files, *_ = recv_fds(requests, _SIZE, 3)
        if not message:
            return None
        process = fork()
        if process == 0:
            for number, file in enumerate(files):
                os.dup2(file, number)
        for file in files:
            os.close(file)
        if process == 0:
            request: Request = json.loads(message)
            return request
        requests.send(str(process).encode())
        _, status = waitpid(process, 0)
        requests.send(str(os.waitstatus_to_exitcode(status)).encode())


def _main() -> None:
    with socket(AF_UNIX, SOCK_SEQPACKET, fileno=int(sys.argv.pop())) as requests:
        # gevent's sockets, as in the tests' process, do not block.
        requests.setblocking(True)
        _import_all()
        request = _serve(requests)
    if request:
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv[1:] = request["arguments"]
        runpy.run_module("pyinfra", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
