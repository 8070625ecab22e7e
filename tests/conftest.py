"""Fixtures and refusals for all tests."""

import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import gettempdir

# It patches the standard library for gevent, so it comes before every other import.
import pyinfra_cli  # type: ignore[import-untyped]  # noqa: F401
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from tests import rings

# Collecting tests writes nothing into the clone.
set_hypothesis_home_dir(Path(gettempdir()) / "kubekeel-hypothesis")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse the outer rings outside a lab, by the arguments of the command line."""
    _refuse(config, [Path(argument.partition("::")[0]) for argument in config.args])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse collected tests, too: arguments can also name tests by module."""
    _refuse(config, {item.path for item in items})


def _refuse(config: pytest.Config, paths: Iterable[Path]) -> None:
    found = rings.among(paths)
    if found and (why := rings.why_not(only_collected=config.option.collectonly)):
        remedy = f"say `python3 -m lab test {' '.join(found)}`, or name other folders"
        raise pytest.UsageError(f"{', '.join(found)}: run only on a lab ({why}); {remedy}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the outcome of the harmful tests, if any ran."""
    # Importing it needs a cluster, so it is loaded only if such tests ran.
    if support := sys.modules.get("tests.support"):
        support.summarize(terminalreporter)
