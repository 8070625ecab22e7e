"""Fixtures of the tests of operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pyinfra.api import FunctionCommand, StringCommand

from operations import converge, wait
from tests.operations.commands import Commands, Host


def _text(command: StringCommand | FunctionCommand) -> str:
    return command.function.__name__ if isinstance(command, FunctionCommand) else command.get_raw_value()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Return a function that returns an operation's commands for a host with these facts."""

    def run(
        module: Any, operation: str, facts: Mapping[type, object], *arguments: object, **named: object
    ) -> list[str]:
        host = Host(facts)
        monkeypatch.setattr(module, "host", host)
        monkeypatch.setattr(converge, "host", host)
        monkeypatch.setattr(wait, "host", host)
        results = [_text(command) for command in getattr(module, operation)._inner(*arguments, **named)]
        assert bool(results) != bool(host.noops), "either it has commands, or says that there is nothing to do"
        return results

    return run
