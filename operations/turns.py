"""Changes running nodes in turns, so that the others serve meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence

from pyinfra import host, logger, state
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel.files import Absent, Tree, differing
from kubekeel.nodes import TAKEN_OUT
from kubekeel.service import Service
from operations.converge import bring, compare, described_files, look, put, restarted
from operations.drain import bring_back, take_out
from run.insides import has_failed


@operation()
def restore(services: Sequence[Service], files: Tree) -> Generator[StringCommand, None, None]:
    """Write missing files before a program that needs them starts; `hold` writes the files that differ."""
    described = described_files(services, files)
    seen = look([], described)
    if missing := differing({path: described[path] for path in described.keys() - seen.paths.keys()}, seen.paths):
        yield put(missing)
    else:
        host.noop("all files are there")


@operation()
def hold(
    services: Sequence[Service], files: Tree, at_once: Collection[str]
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Bring services and files to their described state, unless a running service must restart.

    `take_turn` does that. The units in `at_once` need no turn. A node that needs no turn, and that an interrupted run
    left drained, takes pods again: others may be drained next.
    """
    described = {**files, TAKEN_OUT: Absent()}
    seen = look(services, described)
    compare(services, files, seen)
    if not set(restarted(services, files, seen)) - set(at_once):
        if TAKEN_OUT in seen.paths:
            yield FunctionCommand(bring_back, (), {})
        yield from bring(services, described, seen)
        return
    now = [service for service in services if service.unit in at_once]
    if restarted(now, {}, seen):
        yield from bring(now, {}, seen)
    # This makes the operation a change, on which the later operation that restarts depends.
    yield StringCommand("true")


@operation()
def take_turn(
    services: Sequence[Service], files: Tree, drain_seconds: int | None
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Make the changes that `hold` left, and drain the node before if `drain_seconds` is given.

    Call this with `_serial=True`, or with `_parallel`: the first batch with a failed host is the last one.
    """
    if failure := stopped_before():
        yield failure
        return
    seen = look(services, files)
    drains = drain_seconds is not None and restarted(services, files, seen)
    if drains:
        yield FunctionCommand(take_out, (drain_seconds,), {})
    yield from bring(services, files, seen)
    if drains:
        yield FunctionCommand(bring_back, (), {})


def stopped_before() -> FunctionCommand | None:
    """Return a command that fails this host if another one has failed before its turn; None if none has."""
    failed = [each.name for each in state.inventory if has_failed(state, each)]
    return FunctionCommand(_stopped_before, (failed,), {}) if failed else None


def _stopped_before(state: State, host: Host, failed: Sequence[str]) -> bool:  # noqa: ARG001 - pyinfra's signature
    logger.error(f"{host.name}: the run did not change this host, because {', '.join(failed)} failed")
    return False
