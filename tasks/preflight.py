"""The look at every host of the run before any change, on hosts or on this computer."""

from __future__ import annotations

from pyinfra import host

from operations.preflight import recognition, verdict
from run.closing import refusal


def check() -> None:
    """End a deploy and list all faults of its hosts, unless every host is fit."""
    _end_for(verdict(host.state))


def recognize() -> None:
    """End an action and list the faults, unless its hosts belong to the cluster of these keys, and are not in use."""
    _end_for(recognition(host.state))


def _end_for(faults: list[str]) -> None:
    if faults:
        raise refusal(len(faults), "preflight.md")
