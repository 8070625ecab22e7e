"""Saves the new keys of a run in the state directory."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host, logger, state
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel.artifacts import ArtifactError
from kubekeel.durable import unwritten
from kubekeel.keyfolder import PkiError
from kubekeel.pki import Pki
from run.inventory import is_saved, save, state_dir


@operation()
def keep(pki: Pki) -> Generator[FunctionCommand, None, None]:
    """Save these keys, pins and kubeconfigs on this computer; for one host, before any host gets keys."""
    if is_saved(state, pki):
        host.noop("all files are there")
    else:
        yield FunctionCommand(_keep, (pki,), {})


def _keep(state: State, host: Host, pki: Pki) -> bool:  # noqa: ARG001 - pyinfra's signature
    try:
        save(state, pki)
    except (ArtifactError, PkiError) as error:
        logger.error(error)
        return False
    except OSError as error:
        logger.error(unwritten(error, state_dir()))
        return False
    return True
