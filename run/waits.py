"""Reports what hosts wait for, and how long: in place on a terminal, elsewhere a line every half minute."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from shutil import get_terminal_size

import gevent
from pyinfra import logger, state
from pyinfra.api.host import Host

from run.insides import has_spinner, replace_spinner

_WAIT = "kubekeel_wait"
_REPORT_SECONDS = 30
_SHOWN = 10
"""The number of waits that get a line on a terminal."""


@contextmanager
def show_wait(host: Host, what: str) -> Iterator[None]:
    """Show, until the block ends, that a host waits for `what`."""
    host.connector_data[_WAIT] = (what, time.monotonic())
    # pyinfra's `host` stands for another host, or for none, in another greenlet.
    reporter = gevent.spawn(_report, host.print_prefix, what)
    try:
        yield
    finally:
        reporter.kill(block=False)
        host.connector_data.pop(_WAIT, None)


def show_in_place() -> None:
    """Add a line for each waiting host below pyinfra's line on a terminal; config.py calls this."""
    replace_spinner(lambda message: in_place([message, *shown(time.monotonic())], get_terminal_size().columns))


def in_place(lines: Sequence[str], columns: int) -> str:
    """Return text that writes these lines onto a terminal, each cut to `columns`, and moves back to the first one."""
    cut = "\n".join(f"{line[: columns - 1]}\033[K" for line in lines)
    return f"{cut}\r" + (f"\033[{len(lines) - 1}A" if len(lines) > 1 else "")


def shown(now: float) -> list[str]:
    """Return a line for each waiting host, up to a limit."""
    waits = [(host.name, *wait) for host in state.inventory if (wait := host.connector_data.get(_WAIT))]
    lines = [f"    [{name}] has waited {now - begun:.0f} s for {what}" for name, what, begun in waits[:_SHOWN]]
    return [*lines, *([f"    and {more} more"] if (more := len(waits) - _SHOWN) > 0 else [])]


def _report(prefix: str, what: str) -> None:
    waited = 0
    while not has_spinner():
        gevent.sleep(_REPORT_SECONDS)
        waited += _REPORT_SECONDS
        logger.info(f"{prefix}has waited {waited} s for {what}")
