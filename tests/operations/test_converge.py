"""Files, folders and links on a host: how a look sees them, and how put() changes them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from kubekeel.files import Absent, Directory, File, Link, differing
from operations.converge import Look, UnitSeen, put
from operations.wait import until


def shell(script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", script], input=stdin, text=True, capture_output=True, check=False)


def run(command: object) -> None:
    stdin = "\n".join(command.connector_arguments["_stdin"])  # type: ignore[attr-defined]
    done = shell(command.get_raw_value(), stdin)  # type: ignore[attr-defined]
    assert done.returncode == 0, done.stderr


def look(paths: list[str], **conditions: str) -> object:
    done = shell(Look().command(paths, [], conditions))
    assert done.returncode == 0
    return Look().process(done.stdout.splitlines())


def test_written_entries_no_longer_differ(tmp_path: Path) -> None:
    tree = {
        f"{tmp_path}/etc": Directory(0o700),
        f"{tmp_path}/etc/key": File(b"\x00secret\xff", 0o600),
        f"{tmp_path}/etc/with space": File(b"", 0o644),
        f"{tmp_path}/tool": Link("etc/key"),
    }
    assert differing(tree, look(list(tree)).paths) == tree  # type: ignore[attr-defined]
    run(put(tree))
    assert differing(tree, look(list(tree)).paths) == {}  # type: ignore[attr-defined]
    assert sorted(path.name for path in (tmp_path / "etc").iterdir()) == ["key", "with space"]


def test_unwanted_files_are_removed_and_no_others(tmp_path: Path) -> None:
    for name in ("key", "cert", "kept"):
        (tmp_path / name).write_text("")
    tree = {f"{tmp_path}/{name}": Absent() for name in ("key", "cert", "never was")}
    run(put(differing(tree, look(list(tree)).paths)))  # type: ignore[attr-defined]
    assert differing(tree, look(list(tree)).paths) == {}  # type: ignore[attr-defined]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_folder_is_corrected_without_touching_its_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(0o755)
    (tmp_path / "d/kept").write_text("kept")
    run(put({f"{tmp_path}/d": Directory(0o700)}))
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "d/kept").read_text() == "kept"


def test_a_link_to_a_folder_on_another_disk_is_used_and_kept(tmp_path: Path) -> None:
    disk, link = tmp_path / "disk", tmp_path / "etcd"
    disk.mkdir(0o755)
    (disk / "member").write_text("all there is")
    link.symlink_to(disk)
    tree = {f"{link}": Directory(0o700), f"{link}/sub": Directory(), f"{link}/sub/file": File(b"new")}
    assert differing(tree, look(list(tree)).paths) == tree  # type: ignore[attr-defined]
    run(put(tree))
    assert differing(tree, look(list(tree)).paths) == {}  # type: ignore[attr-defined]
    assert link.readlink() == disk
    assert disk.stat().st_mode & 0o777 == 0o700
    assert (disk / "member").read_text() == "all there is"
    assert (disk / "sub/file").read_bytes() == b"new"


@pytest.mark.parametrize("leads_to", ["nowhere", "file"])
def test_a_link_that_leads_to_no_folder_is_refused_and_kept(tmp_path: Path, leads_to: str) -> None:
    (tmp_path / "file").write_text("")
    link = tmp_path / "etcd"
    link.symlink_to(tmp_path / leads_to)
    tree = {f"{tmp_path}/before": File(b""), f"{link}": Directory(0o700)}
    assert f"{link}" in differing(tree, look(list(tree)).paths)  # type: ignore[attr-defined]
    command = put(tree)
    done = shell(command.get_raw_value(), "\n".join(command.connector_arguments["_stdin"]))
    assert done.returncode == 1
    assert done.stdout == (
        f"{link}: is a link that does not lead to a folder ({tmp_path / leads_to}); mount that, or remove the link,"
        " then deploy again\n"
    )
    assert link.readlink() == tmp_path / leads_to
    assert not (tmp_path / "before").exists()


def test_everyone_can_enter_a_new_parent_folder(tmp_path: Path) -> None:
    run(put({f"{tmp_path}/etc/sysctl.d/90.conf": File(b"", 0o644)}))
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "etc", tmp_path / "etc/sysctl.d")} == {0o755}


def test_a_link_replaces_a_link_to_a_folder_instead_of_landing_in_it(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "link").symlink_to("old")
    run(put({f"{tmp_path}/link": Link("new")}))
    assert (tmp_path / "link").readlink() == Path("new")
    assert list((tmp_path / "old").iterdir()) == []


def test_no_secret_is_in_a_command(tmp_path: Path) -> None:
    command, other = (put({f"{tmp_path}/key": File(content)}) for content in (b"PRIVATE KEY", b"another"))
    assert str(command) == str(other)
    assert repr(command) == repr(other)


# A host booted at 01:00 by its clock, and its unit started 5 s later; then its clock was set to 11:00.
CLOCK_SET = """\
unit\td\tActiveState=active
unit\td\tExecMainStartTimestamp=Thu 2026-01-01 01:00:05.000000 UTC
unit\td\tExecMainStartTimestampMonotonic=5000000
clocks\t65.00\t1767265260.000
"""
BOOT = 1767265195  # 2026-01-01 10:59:55


def test_the_age_of_a_unit_is_right_even_if_the_clock_was_set_since() -> None:
    started = Look().process(CLOCK_SET.splitlines()).units["d"]
    assert started.age == 60
    assert started.started == BOOT + 5
    # The clock was set back by ten seconds: files written just before the start are still older than it.
    set_back = CLOCK_SET.replace("Thu 2026-01-01 01:00:05", "Thu 2026-01-01 11:00:10")
    assert Look().process(set_back.splitlines()).units["d"].started == BOOT + 15


def test_a_unit_that_never_ran_has_no_start() -> None:
    never = ["unit\td\tActiveState=inactive", "unit\td\tExecMainStartTimestamp=n/a"]
    assert Look().process([*never, "unit\td\tExecMainStartTimestampMonotonic=0", "clocks\t9.5\t99.5"]).units == {
        "d": UnitSeen(active=False, started=0, age=9.5)
    }


@pytest.mark.parametrize(
    ("state", "enabled"), [("enabled", True), ("disabled", False), ("static", True), ("", True), (None, True)]
)
def test_only_a_unit_that_could_start_at_boot_is_disabled(state: str | None, enabled: bool) -> None:
    shown = ["unit\td\tActiveState=active", *([] if state is None else [f"unit\td\tUnitFileState={state}"])]
    assert Look().process([*shown, "clocks\t9.5\t99.5"]).units["d"].enabled is enabled
    assert "UnitFileState" in Look().command([], ["d"], {})


def test_a_look_reads_the_clocks_of_the_host() -> None:
    done = shell(Look().command(["/"], [], {}))
    (clocks,) = (line.split("\t")[1:] for line in done.stdout.splitlines() if line.startswith("clocks\t"))
    assert float(clocks[0]) == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=60)
    assert float(clocks[1]) == pytest.approx(time.time(), abs=60)


def test_a_condition_holds_by_its_exit_status_and_never_by_its_output() -> None:
    seen = look(["/"], yes="true", no="false", early="exit 1", loud="echo 'holds\tfaked'")
    assert seen.holds == {"yes", "loud"}  # type: ignore[attr-defined]


def test_a_wait_ends_as_soon_as_its_condition_holds(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    waiter = subprocess.Popen(["sh", "-c", until(f"test -e {flag}", 60, "no flag")], stdout=subprocess.PIPE)
    flag.touch()
    assert waiter.communicate() == (b"", None)
    assert waiter.returncode == 0


def test_a_joint_look_answers_each_look_that_it_contains(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    one = {"paths": [f"{tmp_path}/a"], "units": ["x"], "conditions": {"same": "true", "no": "false"}}
    other = {"paths": [f"{tmp_path}/b", f"{tmp_path}/a"], "units": ["y"], "conditions": {"same": "true", "yes": "true"}}
    both = Look.join(one, other)
    assert both
    seen = Look().process(shell(Look().command(**both)).stdout.splitlines())
    assert seen.holds == {"same", "yes"}
    assert Look.part(seen, one).holds == {"same"}
    assert Look.part(seen, other).holds == {"same", "yes"}
    assert Look.part(seen, other).paths.keys() == {f"{tmp_path}/a"}
    assert Look.join(one, {**other, "conditions": {"same": "exit 1"}}) is None
