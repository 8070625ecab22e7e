"""What a member of etcd ran before a change is kept until it serves again, and restored if it does not."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kubekeel.files import Directory, Entry, File, Link, Seen
from kubekeel.parts import placeholder
from kubekeel.service import Service
from operations import converge, members
from operations.converge import Look, UnitSeen
from operations.members import PREVIOUS
from tasks import etcd
from tests.hosts import OLD, as_described, cluster
from tests.operations.commands import RUNNING, STARTED, Commands, Described, Host
from tests.unit.members import node

FILES: dict[str, Entry] = {
    "/etc/etcd": Directory(),
    "/etc/etcd/etcd.conf": File(b"new"),
    "/etc/etcd/pki/revoked.crl": File(b"new"),
    "/bin/etcd": Link("../store/new/etcd"),
    "/etc/etcd/new": File(b"new"),
    "/etc/etcd/pki/server.crt": File(b"new", hot=True),
}
KEPT = tuple(path for path in FILES if path != "/etc/etcd/pki/revoked.crl")
ETCD = Service("etcd", FILES, "etcd --healthy")
CHANGED = {
    "/etc/etcd": Seen("d", 0o700, "root:root", OLD),
    "/etc/etcd/etcd.conf": Seen("f", 0o600, "root:root", OLD, digest="old"),
    "/etc/etcd/pki/revoked.crl": Seen("f", 0o600, "root:root", OLD, digest="old"),
    "/bin/etcd": Seen("l", 0o777, "root:root", OLD, "../store/old/etcd"),
}
LEFT = {PREVIOUS: Seen("d", 0o700, "root:root", OLD)}
DOWN = UnitSeen(active=True, started=STARTED)
KEEP, DROP = f"keep {PREVIOUS} ", f"rm -rf {PREVIOUS}"


def brought(
    commands: Commands, paths: dict[str, Seen], unit: UnitSeen = RUNNING, kept: tuple[str, ...] = KEPT
) -> list[str]:
    seen = Described(paths, {"etcd": unit}, {"blank": False, "timer": True})
    return commands(members, "member", {Look: seen}, ETCD, {}, cluster(), kept=kept)


def test_what_a_serving_member_runs_with_is_kept_before_it_is_replaced(commands: Commands) -> None:
    keep, write, _ = brought(commands, CHANGED)
    # A file that is new has no previous one.
    assert keep.endswith(f"{KEEP}/etc/etcd/etcd.conf /bin/etcd")
    assert "mv -fT" in write


def test_nothing_is_kept_of_a_member_that_does_not_serve_or_gets_another_minor_version(commands: Commands) -> None:
    for found in (brought(commands, CHANGED, DOWN), brought(commands, CHANGED, kept=())):
        assert found
        assert not [command for command in found if KEEP in command or DROP in command]


def test_nothing_is_kept_of_a_member_that_does_not_restart(commands: Commands) -> None:
    renewed = {"/etc/etcd/pki/server.crt": Seen("f", 0o644, "root:root", OLD, digest="old")}
    found = brought(commands, {**as_described(FILES), **renewed})
    assert found
    assert not [command for command in found if KEEP in command]


def test_what_an_interrupted_run_kept_goes_once_the_member_serves_with_its_new_files(commands: Commands) -> None:
    described = as_described(FILES)
    assert brought(commands, described) == []
    assert brought(commands, {**described, **LEFT}) == [DROP]
    drop, keep, *_ = brought(commands, {**CHANGED, **LEFT})
    assert (drop, KEEP in keep) == (DROP, True)


def test_what_an_interrupted_run_kept_stays_until_the_member_restarts_unless_the_minor_version_changes(
    commands: Commands,
) -> None:
    newer = {path: replace(seen, changed=STARTED + 1) for path, seen in CHANGED.items()}
    keep, *_ = brought(commands, {**newer, **LEFT})
    assert KEEP in keep
    drop, *rest = brought(commands, {**newer, **LEFT}, kept=())
    assert drop == DROP
    assert not [command for command in rest if KEEP in command]


@pytest.mark.parametrize(("runs", "kept"), [("v3.7.2", True), ("v3.7.3", True), ("v3.6.16", False), ("", False)])
def test_all_files_but_the_revocation_list_may_go_back_unless_the_minor_version_changes(
    monkeypatch: pytest.MonkeyPatch, runs: str, kept: bool
) -> None:
    monkeypatch.setattr(etcd, "host", Host({}))
    monkeypatch.setattr(etcd, "running", lambda _: {"m": {"etcd": runs}})
    files = etcd.service(placeholder(node("m"), cluster())).files
    # A restored revocation list would let revoked clients in again.
    expected = [path for path in files if path != "/etc/etcd/pki/revoked.crl"] if kept else []
    assert etcd.kept(placeholder(node("m"), cluster()), files) == expected


def restarted(commands: Commands, home: Path, serves: str) -> subprocess.CompletedProcess[str]:
    """Restart in turn a member that serves only with the text `serves` in its file, which says "new"."""
    conf, kept = home / "etcd.conf", home / "previous"
    conf.write_text("new")
    place = kept / str(conf).lstrip("/")
    place.parent.mkdir(parents=True)
    place.write_text("old")
    (home / "systemctl").write_text(f'#!/bin/sh\n[ "$1" != restart ] || cp {conf} {home}/running\n')
    (home / "journalctl").write_text("#!/bin/sh\n")
    for name in ("systemctl", "journalctl"):
        (home / name).chmod(0o755)
    service = Service("etcd", {str(conf): File(b"new")}, f"grep -qx {serves} {home}/running", patience=1)
    seen = Described(as_described(service.files, changed=STARTED + 1), {"etcd": RUNNING})
    _, start = commands(converge, "restart_in_turn", {Look: seen}, service, "true", kept=str(kept))
    path = f"{home}:{os.environ['PATH']}"
    return subprocess.run(["sh", "-c", start], env={"PATH": path}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("serves", "restored"), [("new", False), ("old", True), ("neither", True)])
def test_a_member_that_does_not_serve_after_a_change_runs_with_its_previous_files_again(
    commands: Commands, tmp_path: Path, serves: str, restored: bool
) -> None:
    done = restarted(commands, tmp_path, serves)
    assert done.returncode == int(restored), done.stderr
    expected = "old" if restored else "new"
    assert (tmp_path / "etcd.conf").read_text() == expected
    assert (tmp_path / "running").read_text() == expected
    assert not (tmp_path / "previous").exists()
    line = "minion1: restored the previous etcd.conf, because the new one did not serve"
    assert done.stdout.splitlines().count(line) == int(restored)
    # A second wait says it, too, if the previous files do not serve either.
    assert done.stdout.count("minion1: etcd does not serve") == ["new", "old", "neither"].index(serves)


def test_a_member_without_kept_files_is_left_with_its_new_ones(commands: Commands) -> None:
    young = Described(as_described(FILES, changed=STARTED + 1), {"etcd": RUNNING})
    _, start = commands(converge, "restart_in_turn", {Look: young}, ETCD, "true", kept="/nowhere")
    home = {"PATH": "/nowhere"}
    done = subprocess.run(["/bin/sh", "-c", start], env=home, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "restored" not in done.stdout
