"""Ctrl-C, SIGTERM and a terminal that closes end a run in order: its leases are given back, and its status says so."""

from __future__ import annotations

import signal
from types import FrameType

from pyinfra import logger

from run.insides import end_what_waits

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_in_order() -> None:
    """Disconnect from the hosts before a signal ends this process with status 128 + its number; config.py calls this.

    What a host carries out at that moment it goes on with. A second signal ends the process at once.
    """
    for each in _SIGNALS:
        # As nohup leaves it.
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, _end)


def _end(number: int, _: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    logger.error(f"interrupted by {signal.Signals(number).name}; run the same command again to continue")
    end_what_waits()
    # Whichever greenlet this is raised in, gevent hands it to the main one.
    raise SystemExit(128 + number)
