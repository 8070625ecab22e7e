"""Tests that need namespaces say why they are skipped where the kernel forbids these."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.namespaces import alone

PROJECT = Path(__file__).parents[2]


def test_a_test_without_namespaces_is_skipped_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbidding = tmp_path / "unshare"
    forbidding.write_text("#!/bin/sh\necho 'unshare: Operation not permitted' >&2\nexit 1\n")
    forbidding.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=r"forbids user namespaces .*Operation not permitted"):
        alone("net")


def test_every_test_asks_whether_it_may_have_namespaces() -> None:
    files = [file for file in (PROJECT / "tests").rglob("*.py") if file != Path(__file__)]
    asking = [file.name for file in files if re.search(r"\bunshare\W+--user", file.read_text())]
    assert asking == ["namespaces.py"]
