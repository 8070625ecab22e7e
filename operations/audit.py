"""The evidence for an audit of a cluster's hosts, and the table of its results."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable

from pyinfra import host, logger
from pyinfra.api import FactBase, FunctionCommand, StringCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kubekeel.cis import COLLECT, Evidence, Result, judge
from run.inventory import cluster_of, node_of

_WIDTH = 160
"""The width of the table without a terminal, in columns."""

_STYLES = {"passed": "green", "failed": "bold red", "by choice": "yellow", "by hand": "dim", "not seen": "magenta"}
_collected: dict[str, Evidence] = {}


class EvidenceFact(FactBase[Evidence]):
    """A host's evidence for the audit."""

    default = Evidence

    def command(self) -> str:
        return f"{{\n{COLLECT}}} 2>/dev/null; true"

    def process(self, output: Iterable[str]) -> Evidence:
        return Evidence.read(output)


@operation()
def collect() -> Generator[StringCommand, None, None]:
    """Collect a host's evidence for `report`."""
    _collected[node_of(host).name] = host.get_fact(EvidenceFact)
    host.noop("evidence collected")
    yield from ()


@operation()
def report() -> Generator[FunctionCommand, None, None]:
    """Print the result of each control on all hosts; fails if a scored control failed."""
    yield FunctionCommand(_print, (), {})


def _print(state: State, host: Host) -> bool:
    results = judge(cluster_of(state.inventory), _collected)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(table(results), summary(results))
    failed = [result.control.id for result in results if result.control.scored and result.state == "failed"]
    if failed:
        host.log_styled(f"scored controls that failed: {', '.join(failed)}", fg="red", log_func=logger.error)
    return not failed


def table(results: Iterable[Result]) -> Table:
    """Return a table with a row for each control, which lists the hosts that fail it."""
    shown = Table("control", "scored", "requirement", "result", "place and reason")
    for result in results:
        control = result.control
        state = f"[{_STYLES[result.state]}]{result.state}[/]"
        shown.add_row(control.id, "scored" if control.scored else "", control.text, state, _why(result))
    return shown


def _why(result: Result) -> str:
    if result.state == "passed":
        return ", ".join(result.checked)
    lines = [f"{node}: {fault}" for node, fault in result.faults.items()]
    return escape("\n".join(filter(None, [*lines, result.control.note])))


def summary(results: Iterable[Result]) -> str:
    """Return how many controls passed, as a sentence."""
    states = [(result.control.scored, result.state) for result in results]
    scored = [state for is_scored, state in states if is_scored]
    passed = sum(state == "passed" for _, state in states)
    return f"scored: {scored.count('passed')} of {len(scored)} passed; all: {passed} of {len(states)}"
