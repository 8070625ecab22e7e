"""One run at a time: a lock on this computer, and a lease on each host of the run against runs from elsewhere."""

from __future__ import annotations

import fcntl
import os
import shlex
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from getpass import getuser
from hashlib import sha256
from pathlib import Path
from uuid import getnode

import gevent
from gevent.pool import Group
from paramiko import SSHException
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State

from operations.ask import ask

LEASE = "/run/kubekeel/lease"
_LIFE = 30
_RENEWAL = 10
_PATIENCE = 5


class Busy(Exception):
    """Another run is at work with the same state directory."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.faults = (f"state_dir: is locked by another run ({holder}); wait until that ends, or stop it",)


@dataclass(frozen=True)
class Holder:
    """A run that holds the lock of `place`, a state directory on one computer."""

    place: str
    told: str

    @property
    def line(self) -> str:
        """What stands in a lease."""
        return f"{self.place} {self.told}"


_holder: Holder | None = None


def hold(state_dir: Path) -> None:
    """Lock a state directory until this process ends, however it does; raises Busy."""
    global _holder
    since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    told = f"{getuser()}@{socket.gethostname()}, process {os.getpid()}, since {since}"
    lock = os.open(state_dir / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(os.read(lock, 1000).decode() or "just started") from None
    os.ftruncate(lock, 0)
    os.write(lock, told.encode())
    place = f"{socket.gethostname()} {getnode()} {state_dir}"
    _holder = Holder(sha256(place.encode()).hexdigest()[:16], told)


def holder() -> Holder | None:
    """This run, if it holds the lock: one that only looks does not."""
    return _holder


def taking(holder: Holder) -> str:
    """Shell lines that take or renew the lease where that is possible, and print who has it then."""
    # Who has the lock of a place has outlived all earlier runs from there.
    return f"""
mkdir -p {os.path.dirname(LEASE)}
(
  flock 9
  age=$(( $(date +%s) - $(stat -c %Y {LEASE}) ))
  if [ ! -s {LEASE} ] || [ $age -gt {_LIFE} ] || grep -q '^{holder.place} ' {LEASE}; then
    echo {shlex.quote(holder.line)} >{LEASE}
  fi
  sed 's/^/lease /' {LEASE}
) 9>>{LEASE}
"""


def _ending(holder: Holder) -> str:
    return f"( flock 9; ! grep -qxF {shlex.quote(holder.line)} {LEASE} || : >{LEASE} ) 9>>{LEASE}"


def other_holder(lease: str, holder: Holder | None) -> str:
    """Who has a lease, from its line, unless it is `holder`."""
    return "" if holder is None or lease in ("", holder.line) else lease.partition(" ")[2]


class Lease(BaseStateCallback):
    """Renews the leases that a run has taken while it is at work, and gives them back when it disconnects."""

    def __init__(self, holder: Holder, hosts: Sequence[Host]) -> None:
        self._holder = holder
        self._hosts = hosts
        self._renewed = time.monotonic()
        self._renewing = gevent.spawn(self._renew_often)

    def operation_start(self, state: State, op_hash: str) -> None:  # type: ignore[override]  # noqa: ARG002
        """Stop the run if its leases ran out, as they may while pyinfra asks whether to go on."""
        if time.monotonic() - self._renewed > _LIFE / 2 and (lost := self._renew()):
            raise PyinfraError("; ".join(f"{name}: another run has begun meanwhile ({who})" for name, who in lost))

    def host_disconnect(self, state: State, host: Host) -> None:  # type: ignore[override]  # noqa: ARG002
        self._renewing.kill()
        if host in self._hosts:
            with suppress(OSError, SSHException, EOFError):
                ask(host, _ending(self._holder), _PATIENCE)

    def _renew_often(self) -> None:
        while True:
            gevent.sleep(_RENEWAL)
            self._renew()

    def _renew(self) -> list[tuple[str, str]]:
        """Renew all; the names of the hosts where another run has the lease now, and that."""
        asked = time.monotonic()
        leases = Group().map(self._renew_on, self._hosts)
        if all(lease == self._holder.line for lease in leases):
            self._renewed = asked
        others = (other_holder(lease, self._holder) for lease in leases)
        return [(host.name, other) for host, other in zip(self._hosts, others, strict=True) if other]

    def _renew_on(self, host: Host) -> str:
        with suppress(OSError, SSHException, EOFError):
            return lease_of(ask(host, taking(self._holder), _PATIENCE)[1].stdout_lines)
        return ""


def lease_of(lines: Iterable[str]) -> str:
    """The lease among the lines that a host printed."""
    return next((line.removeprefix("lease ") for line in lines if line.startswith("lease ")), "")
