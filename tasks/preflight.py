"""Before anything is changed, every host of the run is looked at and must be found fit."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from operations.preflight import verdict


def check() -> None:
    """End the run, with all faults of all its hosts listed, unless there is none."""
    if faults := verdict(host.state):
        raise DeployError(f"nothing was changed; faults found: {len(faults)}")
