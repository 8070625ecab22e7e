"""`python3 -m lab` for labs that tests make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.shape import PROJECT

Command = Callable[..., subprocess.CompletedProcess[str]]


def lab_in(directory: Path) -> Command:
    """Return a function that runs `python3 -m lab` for the lab in `directory`.

    A command that fails also fails the test, unless `check` is false.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBEKEEL_")}

    def run(
        *arguments: str, check: bool = True, given: str = "", under: tuple[str, ...] = (), patience: int = 600
    ) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(
                [*under, sys.executable, "-m", "lab", *arguments],
                cwd=PROJECT, env={**environment, "KUBEKEEL_LAB_DIR": str(directory)},
                input=given, capture_output=True, text=True, timeout=patience,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            pytest.fail(f"{arguments}: took more than {error.timeout} s: {error.stdout!r} {error.stderr!r}")
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    return run


def ready_nodes(lab: Command) -> set[str]:
    """Return the names of the nodes that are Ready."""
    nodes = json.loads(lab("kubectl", "get", "nodes", "-o", "json").stdout)["items"]
    return {
        node["metadata"]["name"]
        for node in nodes
        if any(entry["type"] == "Ready" and entry["status"] == "True" for entry in node["status"]["conditions"])
    }
