"""Logs and states of all hosts in one archive, without secrets, to find the cause of a fault."""

from __future__ import annotations

import io
import os
import tarfile
import time
from base64 import b64decode
from collections.abc import Generator
from pathlib import Path

from gevent.pool import Group
from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel.shell import script
from kubekeel.status import UNITS
from operations.etcd import ETCDCTL
from run.ask import ask
from run.inventory import hosts_of, node_of

_GATHER = script("node/collect.sh", units=UNITS, etcdctl=[ETCDCTL])


@operation()
def collect() -> Generator[FunctionCommand, None, None]:
    """Collect the logs of all hosts of the run into kubekeel-logs-<time>.tar.gz here, with mode 0600."""
    yield FunctionCommand(_collect, (), {})


def _collect(state: State, host: Host) -> bool:  # noqa: ARG001 - pyinfra's signature
    hosts = hosts_of(state)
    gathered = dict(zip((node_of(each).name for each in hosts), Group().map(_gather, hosts), strict=True))
    path = Path(f"kubekeel-logs-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz").absolute()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, found in gathered.items():
            _add(tar, f"{path.name.removesuffix('.tar.gz')}/{name}", found)
    print(path)
    for name, found in gathered.items():
        if isinstance(found, str):
            logger.warning(f"{name}: nothing was collected ({found}); the archive says so, too")
    return True


def _gather(host: Host) -> bytes | str:
    """Return a host's own archive, or why there is none."""
    if not host.connected:
        return "no SSH connection"
    try:
        _, output = ask(host, _GATHER)
        return b64decode("".join(output.stdout_lines)) or "\n".join(output.stderr_lines)
    except (OSError, SSHException, EOFError, ValueError) as error:
        return f"{type(error).__name__} {error}"


def _add(tar: tarfile.TarFile, folder: str, found: bytes | str) -> None:
    if isinstance(found, str):
        member = tarfile.TarInfo(f"{folder}/unreached.txt")
        member.size = len(found.encode())
        tar.addfile(member, io.BytesIO(found.encode()))
        return
    with tarfile.open(fileobj=io.BytesIO(found)) as own:
        for member in own.getmembers():
            if member.isfile():
                content = own.extractfile(member)
                member.name = f"{folder}/{member.name.removeprefix('./')}"
                tar.addfile(member, content)
