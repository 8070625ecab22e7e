"""For all tests."""

import sys

# It patches the standard library for gevent, which has to come before everything else.
import pyinfra_cli  # type: ignore[import-untyped]  # noqa: F401
import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what came of the harm that was done, if any was."""
    # What does harm needs a cluster, so it is there only if such tests ran.
    if support := sys.modules.get("tests.support"):
        support.summarize(terminalreporter)
