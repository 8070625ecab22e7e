"""Ctrl-C, SIGTERM and a closed terminal end a run in order: it gives its leases back, and its exit status says so."""

from __future__ import annotations

import signal
from types import FrameType

from pyinfra import logger

from run.beside import cut_off
from run.insides import end_what_waits

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_in_order() -> None:
    """Disconnect from the hosts before a signal ends this process with status 128 + its number; config.py calls this.

    Hosts finish the commands that they run at that moment. A second signal ends the process at once.
    """
    for number in _SIGNALS:
        # nohup sets SIGHUP to be ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    logger.error(f"interrupted by {signal.Signals(number).name}; run the same command again to continue")
    end_what_waits()
    cut_off()
    # gevent passes this exception from any greenlet to the main one.
    raise SystemExit(128 + number)
