"""The project's use of other programs' internals fits the installed releases."""

from __future__ import annotations

import ast
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
        f"{package} {installed}: compare run/insides.py, tests/flow/fake.py and bench/ with it; then set READ_AGAINST"
    )


FOLDERS = ("run", "operations", "tasks", "actions")
OTHERS = [file for folder in FOLDERS for file in (PROJECT / folder).rglob("*.py") if file.name != "insides.py"]
LIBRARIES = {"click", "pyinfra", "pyinfra_cli", "paramiko"}
# Their modules that their documentation describes.
DOCUMENTED = {
    *("pyinfra", "pyinfra.api", "pyinfra.api.command", "pyinfra.api.exceptions", "pyinfra.api.host"),
    *("pyinfra.api.inventory", "pyinfra.api.state", "pyinfra.connectors.util", "paramiko"),
}
# Attributes of pyinfra and paramiko that their documentation does not describe.
INTERNAL = {
    *("_preferred_ciphers", "packetizer", "get_op_order", "should_raise_failed_hosts", "callback_handlers", "pool"),
    *("ops", "op_meta", "get_op_meta", "op_hash_order", "current_op_hash", "executing_op_hash", "operation_meta"),
    *("global_arguments", "command_generator", "error_ops", "print_fact_output", "print_fact_input", "WAIT_CHARS"),
}


def of_libraries(file: Path) -> tuple[set[str], set[str]]:
    """Return the modules of click, pyinfra and paramiko that a file imports, and the internal names that it uses."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return {name for name in modules if name.partition(".")[0] in LIBRARIES}, used & INTERNAL


def test_internals_are_used_in_one_file() -> None:
    found = {str(file.relative_to(PROJECT)): of_libraries(file) for file in OTHERS}
    using = {file: (modules - DOCUMENTED) | names for file, (modules, names) in found.items()}
    assert {file: names for file, names in using.items() if names} == {}
    _, names = of_libraries(PROJECT / "run/insides.py")
    assert names == INTERNAL


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
