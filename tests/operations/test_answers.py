"""The answers of a host through a login shell that prints and sets anything."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.host import Host
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command

from run import answers
from run.insides import SHELL_COMMAND

BANNERS = [
    "",
    "echo Welcome to the build server",
    "echo one two; echo Welcome >&2",
    "printf 'no end of line'; printf 'nor here' >&2",
    "umask 077",
]


class Login:
    """A connector to a host whose login shell runs `banner` before each command, as bash runs ~/.bashrc."""

    def __init__(self, banner: str) -> None:
        self.banner = banner

    def run_shell_command(self, command: StringCommand, **_options: object) -> tuple[bool, CommandOutput]:
        script = make_unix_command(command).get_raw_value()
        done = subprocess.run(["bash", "-c", f"{self.banner}\n{script}"], capture_output=True, text=True, check=False)
        buffers = {"stdout": done.stdout, "stderr": done.stderr}
        lines = [OutputLine(name, line) for name, text in buffers.items() for line in text.splitlines()]
        return done.returncode == 0, CommandOutput(lines)


@pytest.fixture
def deploying(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(answers, "is_deploy", lambda: True)
    answers.keep_to_answers()
    yield
    Host.run_shell_command = SHELL_COMMAND  # type: ignore[method-assign]


def ask(banner: str, *command: object) -> tuple[bool, CommandOutput]:
    host = SimpleNamespace(connector=Login(banner), _check_state=lambda: None)
    return Host.run_shell_command(host, StringCommand(*command))  # type: ignore[arg-type]


@pytest.mark.parametrize("banner", BANNERS)
@pytest.mark.usefixtures("deploying")
def test_an_answer_is_the_output_of_the_command_with_any_login_shell(banner: str) -> None:
    succeeded, output = ask(banner, "echo", QuoteString("it's me"), "; echo but >&2")
    assert succeeded
    assert output.stdout_lines == ["it's me"]
    assert output.stderr_lines == ["but"]


@pytest.mark.parametrize("banner", BANNERS)
@pytest.mark.usefixtures("deploying")
def test_empty_output_stays_empty_and_a_failure_stays_a_failure(banner: str) -> None:
    succeeded, output = ask(banner, "exit 3")
    assert not succeeded
    assert output.output_lines == []


@pytest.mark.usefixtures("deploying")
def test_folders_can_be_entered_by_others_under_a_strict_umask(tmp_path: Path) -> None:
    assert ask("umask 077", "mkdir -p", shlex.quote(f"{tmp_path}/a/b"))[0]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")} == {0o755}


@pytest.mark.usefixtures("deploying")
def test_programs_speak_english_whatever_the_login_s_language_is() -> None:
    assert ask("export LANG=de_DE.UTF-8 LC_ALL=de_DE.UTF-8", "echo $LC_ALL")[1].stdout_lines == ["C"]


@pytest.mark.usefixtures("deploying")
def test_the_error_of_a_command_that_never_ran_is_kept() -> None:
    succeeded, output = ask("echo 'sudo: a password is required' >&2; exit 1", "echo x")
    assert not succeeded
    assert output.stderr_lines == ["sudo: a password is required"]


def test_commands_of_users_are_sent_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "is_deploy", lambda: False)
    answers.keep_to_answers()
    assert Host.run_shell_command is SHELL_COMMAND


class Hanging:
    """A connector to a host on which no command ends within `_timeout`."""

    def __init__(self) -> None:
        self.limits: list[object] = []

    def run_shell_command(self, command: StringCommand, **options: object) -> tuple[bool, CommandOutput]:  # noqa: ARG002
        self.limits.append(options.get("_timeout"))
        raise TimeoutError


def hanging(operation: str) -> SimpleNamespace:
    state = SimpleNamespace(get_op_meta=lambda _: SimpleNamespace(names={operation}))
    about = {"connector": Hanging(), "name": "a", "state": state, "_check_state": lambda: None, "connector_data": {}}
    return SimpleNamespace(**about, executing_op_hash="1" if operation else None, current_op_hash=None)


@pytest.mark.parametrize(("operation", "shown"), [("start etcd", "start etcd"), ("", "a look")])
@pytest.mark.usefixtures("deploying")
def test_a_command_without_a_limit_of_its_own_ends_after_hours_with_its_host_and_operation(
    operation: str, shown: str
) -> None:
    host = hanging(operation)
    for own in ({}, {"_timeout": None}):
        succeeded, output = Host.run_shell_command(host, StringCommand("sleep infinity"), **own)  # type: ignore[arg-type]
        assert not succeeded
        assert output.stderr.startswith(f"a: a command has not ended in 4 h ({shown}); log in, and see what it waits")
    assert host.connector.limits == [4 * 3600] * 2


@pytest.mark.usefixtures("deploying")
def test_a_command_with_a_limit_keeps_it() -> None:
    host = hanging("start etcd")
    with pytest.raises(TimeoutError):
        Host.run_shell_command(host, StringCommand("sleep infinity"), _timeout=5)  # type: ignore[arg-type]
    assert host.connector.limits == [5]
