"""The restart of a host: its steps in order, and a failed command leaves the host in service."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kubekeel.restart import DONE, MARK, Restart
from operations import restart
from tests.operations.commands import Commands


@pytest.fixture
def steps(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(restart, "stopped_before", lambda: None)

    def of(**arguments: object) -> list[str]:
        wanted = Restart("apt-get -y full-upgrade", "always")
        return commands(restart, "restart_host", {}, **{"restart": wanted, "services": [], **arguments})

    return of


def test_a_member_of_etcd_waits_for_the_others_before_anything_else(steps: Any) -> None:
    gate, *rest = steps(member=True, drain_seconds=None)
    assert "endpoint health --cluster" in gate
    assert rest == ["_run", "_reboot", f"mv {MARK} {DONE}"]


def test_a_node_is_drained_before_its_command_and_takes_pods_before_it_counts_as_restarted(steps: Any) -> None:
    assert steps(member=False, drain_seconds=60) == ["take_out", "_run", "_reboot", "bring_back", f"mv {MARK} {DONE}"]


def test_after_a_failure_of_another_host_nothing_is_restarted(steps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart, "stopped_before", lambda: "another host failed")
    monkeypatch.setattr("tests.operations.conftest._text", str)
    assert steps(member=True, drain_seconds=60) == ["another host failed"]


@pytest.mark.parametrize("drained", [True, False])
def test_a_failed_command_leaves_a_drained_node_taking_pods_and_shows_its_last_lines(
    monkeypatch: pytest.MonkeyPatch, drained: bool
) -> None:
    host: Any = SimpleNamespace(name="a", print_prefix="[a] ")
    errors: list[str] = []
    back: list[str] = []
    monkeypatch.setattr(restart, "ask", lambda *_: (False, SimpleNamespace(output_lines=["E: held packages"])))
    monkeypatch.setattr(restart, "logger", SimpleNamespace(error=errors.append))
    monkeypatch.setattr(restart, "bring_back", lambda _, host: back.append(host.name))
    state: Any = None
    assert not restart._run(state, host, "apt-get", drained)
    assert errors == ["[a] E: held packages", "a: the command failed, see above; correct that, then run this again"]
    assert back == (["a"] if drained else [])


@pytest.mark.parametrize(("reboot", "marked", "reboots"), [("never", True, False), ("needed", False, False)])
def test_a_host_reboots_only_if_the_user_or_its_packages_ask_for_it(
    monkeypatch: pytest.MonkeyPatch, reboot: str, marked: bool, reboots: bool
) -> None:
    asked: list[str] = []

    def ask(_: Any, script: str, *__: object) -> tuple[bool, Any]:
        asked.append(script)
        return True, SimpleNamespace(stdout="yes" if marked else "")

    monkeypatch.setattr(restart, "ask", ask)
    host: Any = SimpleNamespace(name="a", print_prefix="[a] ")
    state: Any = None
    assert restart._reboot(state, host, Restart("", reboot))
    assert any("systemctl reboot" in script for script in asked) == reboots
