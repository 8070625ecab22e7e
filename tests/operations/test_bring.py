"""A backup, and new keys, that cannot be written or fetched: one line that says why, and what to do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from paramiko import SSHException

from operations import backup, keys, rotation
from run import stream
from run.connection import Unreachable
from run.stream import Broken

FULL = OSError(28, "No space left on device")
FORBIDDEN = PermissionError(13, "Permission denied", "/mnt/backups/.one.kubekeel.new")
RUN: Any = SimpleNamespace(inventory=None)
HOST: Any = SimpleNamespace(name="a", connector_data={}, print_prefix="[a] ")


def raising(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("step", "error", "line"),
    [
        ("fetch", FULL, "{file}: cannot be written (No space left on device); make room, or correct the rights of its"),
        ("write", FORBIDDEN, f"{FORBIDDEN.filename}: cannot be written (Permission denied); make room, or correct"),
        ("fetch", Unreachable("m", "no answer for 40 s"), "m: is unreachable (no answer for 40 s); start it, or leave"),
    ],
)
def test_a_backup_that_cannot_be_written_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
    error: OSError,
    line: str,
) -> None:
    for name in ("cluster_of", "passphrase", "node_of", "fetch"):
        monkeypatch.setattr(backup, name, lambda *_, **__: SimpleNamespace(name="m"))
    monkeypatch.setattr(backup, "state_dir", lambda: tmp_path / "pki")
    monkeypatch.setattr(backup, "newest", lambda _: SimpleNamespace(host=HOST, path="/snapshot.db"))
    monkeypatch.setattr(*((backup, "fetch") if step == "fetch" else (backup.archive, "write")), raising(error))
    file = tmp_path / "one.kubekeel"
    assert not backup._bring(RUN, HOST, str(file), "")
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith(line.format(file=file))


@pytest.mark.parametrize("action", ["keep", "retire"])
def test_keys_that_cannot_be_saved_say_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, action: str
) -> None:
    pki: Any = SimpleNamespace(retire=raising(FULL))
    module = keys if action == "keep" else rotation
    monkeypatch.setattr(keys, "save", raising(FULL))
    monkeypatch.setattr(module, "state_dir", lambda: Path("/home/ann/pki"))
    assert not getattr(module, f"_{action}")(RUN, HOST, pki)
    assert [record.getMessage() for record in caplog.records] == [
        "/home/ann/pki: cannot be written (No space left on device); make room, or correct the rights of its folder"
    ]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            Unreachable("a", "the connection was lost"),
            "a: is unreachable (the connection was lost); start it, or",
        ),
        (SSHException("channel closed"), "a: does not answer (SSHException channel closed); log in by ssh, and find"),
        (TimeoutError(), "a: does not answer (TimeoutError ); log in by ssh, and find out why"),
    ],
)
def test_a_transfer_from_a_host_that_is_lost_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    monkeypatch.setattr(stream, "ask", raising(error))
    with pytest.raises(Broken) as broken:
        stream.fetch(HOST, "/snapshot.db", tmp_path / "snapshot.db")
    assert str(broken.value).startswith(line)
