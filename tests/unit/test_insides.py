"""The project's use of other programs' internals fits the installed releases."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from pathlib import Path

import pytest
from pyinfra.api import StringCommand, arguments, connectors, util
from pyinfra.connectors.util import make_unix_command

from run.insides import READ_AGAINST, do_repeated_work_once

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("package", READ_AGAINST)
def test_internals_were_read_against_the_installed_release(package: str) -> None:
    installed = version(package)
    assert installed.startswith(f"{READ_AGAINST[package]}."), (
        f"{package} {installed}: read run/insides.py against it, and docs of its changes; then set READ_AGAINST"
    )


INSIDES = (
    *("pyinfra_cli", "sshuserclient", "_preferred_ciphers", "packetizer", "get_op_order", "should_raise_failed_hosts"),
    *('getLogger("pyinfra")', "will_change", "progress.WAIT"),
)


@pytest.mark.parametrize("inside", INSIDES)
def test_internals_are_used_in_one_file(inside: str) -> None:
    folders = ("run", "operations", "tasks", "actions")
    using = [file for folder in folders for file in (PROJECT / folder).rglob("*.py") if inside in file.read_text()]
    named = [file.name for file in using if inside != "get_op_order" or "def " + inside not in file.read_text()]
    assert set(named) <= {"insides.py", "order.py"}
    assert "insides.py" in named


def test_repeated_work_done_once_has_the_same_results(monkeypatch: pytest.MonkeyPatch) -> None:
    patched = (
        (connectors, "entry_points"),
        (arguments, "all_global_arguments"),
        (util, "stack"),
        (util, "getframeinfo"),
    )
    for module, name in patched:
        monkeypatch.setattr(module, name, getattr(module, name))
    found = []
    for patch in (lambda: None, do_repeated_work_once):
        patch()
        frames = [util.getframeinfo(item[0]) for item in util.stack()]
        places = [(frame.filename, frame.lineno, frame.function) for frame in frames]
        found.append((places, arguments.all_global_arguments(), connectors.get_all_connectors()))
    assert found[0] == found[1]
    assert util.stack is not inspect.stack


def test_pyinfra_passes_the_password_of_sudo_as_an_argument_as_documented() -> None:
    sudo = {"_sudo": True, "_sudo_password": "secret", "_sudo_askpass_path": "/tmp/askpass"}
    command = make_unix_command(StringCommand("id"), **sudo)
    assert command.get_raw_value().startswith(
        "env SUDO_ASKPASS=/tmp/askpass PYINFRA_SUDO_PASSWORD=secret sudo -H -A -k"
    )
    assert "secret" not in command.get_masked_value()
    assert "`PYINFRA_SUDO_PASSWORD=...`" in (PROJECT / "docs/security.md").read_text()
