"""One run at a time: a lock on this computer, and a lease on each host of the run against runs from elsewhere."""

from __future__ import annotations

import fcntl
import os
import shlex
import socket
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from getpass import getuser
from hashlib import sha256
from math import inf
from pathlib import Path
from uuid import getnode

import gevent
from gevent.lock import BoundedSemaphore
from gevent.pool import Group
from paramiko import SSHException
from pyinfra import logger
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State

from kubekeel.shell import script
from run.ask import ask
from run.beside import finish
from run.connection import Unreachable
from run.insides import handlers, takes_part

LEASE = "/run/kubekeel/lease"
_LIFE = 30
_RENEWAL = 10
_PATIENCE = 30


class Busy(Exception):
    """Another run is at work with the same state directory."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.faults = (f"state_dir: is locked by another run ({holder}); wait until that run ends, or stop it",)


@dataclass(frozen=True)
class Holder:
    """A run that holds the lock of `place`, a state directory on one computer."""

    place: str
    words: str

    @property
    def line(self) -> str:
        """The content of a lease."""
        return f"{self.place} {self.words}"


_holder: Holder | None = None


def hold(state_dir: Path) -> None:
    """Lock a state directory until this process ends, even by a crash. Raises Busy."""
    global _holder
    since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    words = f"{getuser()}@{socket.gethostname()}, process {os.getpid()}, since {since}"
    lock = os.open(state_dir / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(os.read(lock, 1000).decode() or "just started") from None
    os.ftruncate(lock, 0)
    os.write(lock, words.encode())
    place = f"{socket.gethostname()} {getnode()} {state_dir}"
    _holder = Holder(sha256(place.encode()).hexdigest()[:16], words)


def holder() -> Holder | None:
    """Return this run if it holds the lock; a run that only looks does not."""
    return _holder


def _held() -> Holder:
    assert _holder
    return _holder


def taking(holder: Holder) -> str:
    """Return shell lines that take or renew the lease if possible, and print its holder."""
    return script("node/lease.sh", lease=[LEASE], place=[holder.place], holder=[holder.line], life=[f"{_LIFE}"])


def _ending(holder: Holder) -> str:
    return f"""
[ ! -e {LEASE} ] || ( flock 9; ! grep -qxF {shlex.quote(holder.line)} {LEASE} || rm {LEASE} ) 9>>{LEASE}
rmdir {os.path.dirname(LEASE)} 2>/dev/null
"""


def other_holder(lease: str, holder: Holder | None) -> str:
    """Return the words of a lease's holder; empty if that is `holder`, or if there is none."""
    return "" if holder is None or lease in ("", holder.line) else lease.partition(" ")[2]


class Lease(BaseStateCallback):
    """Takes the lease of every host before a run's first operation, renews it, and gives it back at the end.

    A greenlet per host renews its lease, so that an unreachable host delays no other. A run that only looks takes no
    lease.
    """

    def __init__(self) -> None:
        self._renewed: dict[Host, float] = {}
        self._given_back: set[Host] = set()
        self._asking: defaultdict[Host, BoundedSemaphore] = defaultdict(BoundedSemaphore)
        self._at_work: set[Host] = set()

    def keep(self, host: Host, since: float) -> None:
        """Renew from now on a host's lease, which was taken at `since` (seconds of the monotonic clock)."""
        if host not in self._renewed:
            gevent.spawn(self._renew_often, host)
        self._renewed[host] = since

    def operation_start(self, state: State, op_hash: str) -> None:  # type: ignore[override]  # noqa: ARG002
        """Raise PyinfraError unless this run has the lease of every host.

        A lease may have expired while pyinfra waited for the user's confirmation.
        """
        if holder() is None:
            return
        young = time.monotonic() - _LIFE / 2
        outdated = [host for host in state.inventory.get_active_hosts() if self._renewed.get(host, -inf) < young]
        faults = list(filter(None, Group().map(self._fault, outdated)))
        for fault in faults:
            logger.error(fault)
        if faults:
            raise PyinfraError(f"the run stops here; faults found: {len(faults)}")

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:  # type: ignore[override]
        if takes_part(state, host, op_hash):
            self._at_work.add(host)

    def operation_host_success(self, state: State, host: Host, *_: object) -> None:  # type: ignore[override]  # noqa: ARG002
        self._at_work.discard(host)

    operation_host_error = operation_host_success  # type: ignore[assignment]

    def host_disconnect(self, state: State, host: Host) -> None:  # type: ignore[override]
        """Give the lease back, unless the run was interrupted and the host still runs its last command."""
        finished = finish(host)
        if host not in self._renewed:
            return
        if not finished or host in self._at_work - state.failed_hosts:
            logger.warning(f"{host.name}: may still carry out its last command; its lease ends in {_LIFE} s")
            return
        with self._asking[host], suppress(OSError, SSHException, EOFError):
            self._given_back.add(host)
            ask(host, _ending(_held()), _PATIENCE)

    def _renew_often(self, host: Host) -> None:
        while host not in self._given_back:
            gevent.sleep(_RENEWAL)
            self._fault(host)

    def _fault(self, host: Host) -> str:
        """Take or renew a host's lease, unless it was given back; return why that failed, or an empty string."""
        with self._asking[host]:
            return "" if host in self._given_back else self._taken(host, _held())

    def _taken(self, host: Host, own: Holder) -> str:
        since = time.monotonic()
        try:
            _, output = ask(host, taking(own), _PATIENCE)
        except Unreachable as error:
            return error.fault
        except (OSError, SSHException, EOFError) as error:
            return f"{host.name}: gives no lease ({type(error).__name__} {error}); log in by ssh, and find out why"
        lease = lease_of(output.stdout_lines)
        if other := other_holder(lease, own):
            when = "is now in use by" if host in self._renewed else "is in use by"
            remedy = "wait until that run ends; if it was interrupted, wait half a minute"
            return f"{host.name}: {when} another run ({other}); {remedy}"
        if not lease:
            said = " ".join(output.stderr_lines) or "no output"
            return f"{host.name}: gives no lease ({said}); check that root can write {LEASE} there"
        self.keep(host, since)
        return ""


def keep(host: Host, since: float) -> None:
    """Make the run renew a host's lease, which it took at `since` (seconds of the monotonic clock)."""
    for handler in handlers(host.state):
        if isinstance(handler, Lease):
            handler.keep(host, since)


def lease_of(lines: Iterable[str]) -> str:
    """Return the lease among the lines that a host printed, or an empty string."""
    return next((line.removeprefix("lease ") for line in lines if line.startswith("lease ")), "")
