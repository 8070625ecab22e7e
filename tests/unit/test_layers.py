"""The folders that each folder may import."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
# Each folder, with the folders of the project and the SSH libraries that it may import.
MAY_IMPORT = {
    "kubekeel": {"kubekeel"},
    "run": {"kubekeel", "run", "pyinfra", "pyinfra_cli", "paramiko", "gevent"},
    "operations": {"kubekeel", "run", "operations", "pyinfra", "paramiko", "gevent"},
    "tasks": {"kubekeel", "run", "operations", "tasks", "pyinfra"},
    "actions": {"kubekeel", "run", "operations", "tasks", "pyinfra"},
}
LAYERS = {name for names in MAY_IMPORT.values() for name in names} | set(MAY_IMPORT) | {"lab", "bench", "tests"}


def imports(file: Path) -> Iterator[str]:
    """Yield the top-level name of each module that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_its_own_and_lower_layers(folder: str) -> None:
    files = sorted((PROJECT / folder).rglob("*.py"))
    assert files
    wrong = {
        f"{file.relative_to(PROJECT)} imports {name}"
        for file in files
        for name in imports(file)
        if name in LAYERS - MAY_IMPORT[folder]
    }
    assert not wrong


def test_the_lab_needs_only_the_standard_library() -> None:
    # lab/artifacts.py runs in the virtual environment. Nothing but lab/image.py imports the project's own code.
    files = set((PROJECT / "lab").glob("*.py")) - {PROJECT / "lab/artifacts.py", PROJECT / "lab/image.py"}
    assert {name for file in files for name in imports(file)} <= sys.stdlib_module_names | {"lab"}
    image = set(re.findall(r"^(?:import|from) (\S+)", (PROJECT / "lab/image.py").read_text(), re.MULTILINE))
    assert {name for name in image if name.split(".")[0] not in sys.stdlib_module_names | {"lab"}} == {
        "kubekeel.debian"
    }
    assert set(imports(PROJECT / "kubekeel/debian.py")) <= sys.stdlib_module_names


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each string that is not a docstring."""
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if node not in docstrings | parts:
                yield node.lineno, text
            case ast.JoinedStr(values=values):
                yield node.lineno, "".join(part.value if isinstance(part, ast.Constant) else "" for part in values)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_scripts_of_ten_lines_or_more_are_files(folder: str) -> None:
    """There shellcheck reads them. A shorter string may be a part of a script, and no other string is as long."""
    long = [
        f"{file.relative_to(PROJECT)}:{line}"
        for file in sorted((PROJECT / folder).rglob("*.py"))
        for line, text in strings(ast.parse(file.read_text()))
        if len(text.splitlines()) >= 10
    ]
    assert long == []


def test_no_module_of_tests_is_imported_by_another_one() -> None:
    imported = {
        f"{file.relative_to(PROJECT)} imports {node.module}"
        for file in (PROJECT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
        if any(name.startswith("test_") for name in (*node.module.split("."), *(each.name for each in node.names)))
    }
    assert not imported
