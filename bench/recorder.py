"""`python -m bench.recorder FILE ARGUMENTS...`: run pyinfra with these arguments, and write a `Record` into FILE."""

from __future__ import annotations

import atexit
import os
import re
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyinfra_cli import cli, main  # type: ignore[import-untyped]  # isort: skip - gevent patches what comes after it

from paramiko import Transport
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State

from bench.record import CONFIGURATION, TRANSFER, WAITING, HostCost, Record, Span, Step

# tcpi_bytes_acked and tcpi_bytes_received of the kernel's struct tcp_info.
_TCP_INFO = struct.Struct("120xQQ")


class Recorder(BaseStateCallback):
    """Records the run of this process."""

    def __init__(self) -> None:
        self._began = _process_began()
        self._sessions: Counter[int] = Counter()
        self._renewals: Counter[str] = Counter()
        self._spans: list[Span] = []
        self._steps: list[Step] = []
        self._step_began = 0.0
        self._hosts: dict[str, HostCost] = {}

    def watch(self) -> None:
        """Wrap the functions that pyinfra calls."""
        cli.connect_all = self._around_connecting(cli.connect_all)
        cli.disconnect_all = self._around_disconnecting(cli.disconnect_all)
        Transport.open_channel = self._counting(Transport.open_channel)  # type: ignore[method-assign]
        StringCommand.execute = self._timing(StringCommand.execute)  # type: ignore[method-assign]

    def record(self) -> Record:
        return Record(self._now(), sum(os.times()[:4]), _most_memory(), self._hosts, self._steps)

    def operation_start(self, state: State, op_hash: str) -> None:  # type: ignore[override]  # noqa: ARG002
        self._step_began = self._now()
        self._spans = []

    def operation_end(self, state: State, op_hash: str) -> None:  # type: ignore[override]
        name = next(iter(state.get_op_meta(op_hash).names))
        self._steps.append(Step(name, self._step_began, self._now(), tuple(self._spans)))

    def _now(self) -> float:
        return time.time() - self._began

    def _around_connecting(self, connect: Callable[[State], None]) -> Callable[[State], None]:
        def around(state: State) -> None:
            state.add_callback_handler(self)
            # Only once pyinfra runs: run/__init__.py undoes a setting that pyinfra makes at its start.
            from run.beside import Begun
            from run.lock import Lease

            Begun.execute = self._timing(Begun.execute)  # type: ignore[method-assign]
            Lease._fault = self._counting_renewals(Lease._fault)  # type: ignore[method-assign]
            connect(state)

        return around

    def _counting_renewals(self, renew: Callable[..., str]) -> Callable[..., str]:
        def around(lease: Any, host: Host) -> str:
            self._renewals[host.name] += 1
            return renew(lease, host)

        return around

    def _around_disconnecting(self, disconnect: Callable[[State], None]) -> Callable[[State], None]:
        def around(state: State) -> None:
            disconnect(state)
            self._hosts = {host.name: self._cost(state, host) for host in state.activated_hosts}

        return around

    def _counting(self, open_channel: Callable[..., Any]) -> Callable[..., Any]:
        def around(transport: Transport, *arguments: Any, **options: Any) -> Any:
            self._sessions[id(transport)] += 1
            return open_channel(transport, *arguments, **options)

        return around

    def _timing(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        def around(command: StringCommand, state: State, host: Host, arguments: Any) -> Any:
            with self._span(host.name, _kind(command)):
                return execute(command, state, host, arguments)

        return around

    @contextmanager
    def _span(self, host: str, kind: str) -> Iterator[None]:
        begin = self._now()
        try:
            yield
        finally:
            self._spans.append(Span(host, kind, begin, self._now()))

    def _cost(self, state: State, host: Host) -> HostCost:
        transport = host.connector.client.get_transport()  # type: ignore[attr-defined]
        info = transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        sent, received = _TCP_INFO.unpack(info)
        changes = sum(data.operation_meta.did_change() for data in state.ops[host].values() if _is_done(data))
        renewals = self._renewals[host.name]
        return HostCost(self._sessions[id(transport)] - renewals, renewals, changes, sent, received)


def _is_done(data: Any) -> bool:
    return bool(data.operation_meta.is_complete())


def _kind(command: StringCommand) -> str:
    from operations.store import Content

    # The command that receives a file also unpacks it, which counts as transfer.
    if isinstance(command.connector_arguments.get("_stdin"), Content):
        return TRANSFER
    # The command that starts a service also waits for it, by files/node/wait.sh.
    return WAITING if re.search(r"^# wait\.sh ", command.get_raw_value(), re.MULTILINE) else CONFIGURATION


def _process_began() -> float:
    """Return the start of this process, in seconds since the epoch."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    since_boot = ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)


def _most_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) * 1024


if __name__ == "__main__":
    recorder = Recorder()
    recorder.watch()
    file = Path(sys.argv.pop(1))
    atexit.register(lambda: recorder.record().write(file))
    main.main()
