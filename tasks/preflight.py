"""Before anything is changed, there or here, every host of the run is looked at."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from kubekeel.render import PROJECT
from operations.preflight import recognition, verdict


def check() -> None:
    """End a deploy, with all faults of all its hosts listed, unless every one is fit."""
    _end_for(verdict(host.state))


def recognize() -> None:
    """End an action, with the reasons listed, unless its hosts know the cluster whose keys are here, and are free."""
    _end_for(recognition(host.state))


def _end_for(faults: list[str]) -> None:
    if faults:
        remedy = f"correct them, then run this again; {PROJECT}/docs/preflight.md explains them"
        raise DeployError(f"nothing was changed; faults found: {len(faults)}; {remedy}")
