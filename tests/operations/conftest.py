"""What the tests of operations share."""

from __future__ import annotations

from typing import Any

import pytest

from operations import converge, wait
from tests.operations.commands import Commands, Host


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The commands of an operation on a host that is seen so."""

    def run(module: Any, operation: str, seen: object, *arguments: object, **named: object) -> list[str]:
        host = Host(seen)
        monkeypatch.setattr(module, "host", host)
        monkeypatch.setattr(converge, "host", host)
        monkeypatch.setattr(wait, "host", host)
        given = [command.get_raw_value() for command in getattr(module, operation)._inner(*arguments, **named)]
        assert bool(given) != bool(host.noops), "either it has commands, or says that there is nothing to do"
        return given

    return run
