"""The versions on the hosts of a run, and the available versions."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from gevent.pool import Group
from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kubekeel.artifacts.versions import available
from kubekeel.release import chosen
from kubekeel.versions import Known, known, read, whole_look
from run.ask import ask
from run.inventory import cluster_of, hosts_of

_WIDTH = 120


@operation()
def report() -> Generator[FunctionCommand, None, None]:
    """Print the running, described and available versions of each component."""
    yield FunctionCommand(_report, (), {})


def _report(state: State, host: Host) -> bool:  # noqa: ARG001 - pyinfra's signature
    cluster = cluster_of(state.inventory)
    components = [each for each in cluster.release.components if each.name in chosen()]
    reached = [each for each in hosts_of(state) if each.connected]
    seen = dict(zip((each.name for each in reached), Group().map(_runs, reached), strict=True))
    # A mirror has only the files that somebody put there, so the publishers' versions do not count.
    published = [] if cluster.artifact_source == "mirror" else components
    there = dict(zip((each.name for each in published), Group().map(available, published), strict=True))
    _print(list(known(components, seen, there)))
    if not any(there.values()):
        logger.info("available versions are unknown: a mirror is in use, or the Go module proxy does not answer")
    return True


def _runs(host: Host) -> dict[str, str]:
    try:
        _, output = ask(host, f"{{\n{whole_look()}\n}} 2>/dev/null; true")
    except (OSError, SSHException, EOFError) as error:
        logger.warning(f"{host.print_prefix}does not answer ({type(error).__name__} {error})")
        return {}
    return read(output.stdout_lines)


def _print(components: Sequence[Known]) -> None:
    table = Table("component", "runs", "described", "available", box=SIMPLE, padding=(0, 1, 0, 0))
    for each in components:
        runs = "\n".join(f"{version} on {', '.join(hosts)}" for version, hosts in each.running.items())
        settled = set(each.running) <= {each.described}
        table.add_row(
            each.component,
            escape(runs) or "-",
            f"[{'green' if settled else 'yellow'}]{each.described}[/]",
            " ".join(each.available) or "-",
        )
    console = Console()
    (console if console.is_terminal else Console(width=_WIDTH)).print(table)
