"""Desired files: compared with those that a look found, and packed for a host."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from kubekeel.files import Absent, Directory, File, Link, Seen, archive, differing, staged, watched

HELLO = File(b"hello\n", 0o640, "root:root")


def seen(entry: File, **changes: object) -> Seen:
    values: dict[str, object] = {
        "kind": "f", "mode": entry.mode, "owner": entry.owner, "changed": 1.0, "digest": entry.digest,
    }  # fmt: skip
    return Seen(**(values | changes))  # type: ignore[arg-type]


def test_desired_entries_do_not_differ() -> None:
    tree = {"/a": HELLO, "/d": Directory(0o700), "/l": Link("../x"), "/gone": Absent()}
    found = {
        "/a": seen(HELLO),
        "/d": Seen("d", 0o700, "root:root", 1.0),
        "/l": Seen("l", 0o777, "me:me", 1.0, "../x"),
    }
    assert differing(tree, found) == {}


@pytest.mark.parametrize(
    "found",
    [
        None,
        seen(HELLO, mode=0o644),
        seen(HELLO, owner="etcd:etcd"),
        seen(HELLO, digest="0" * 64),
        seen(HELLO, kind="d"),
        seen(HELLO, kind="l"),
    ],
)
def test_another_kind_mode_owner_or_content_differs(found: Seen | None) -> None:
    assert differing({"/a": HELLO}, {"/a": found} if found else {}) == {"/a": HELLO}


@pytest.mark.parametrize(
    ("folder", "same"),
    [
        (Directory(0o700, "etcd:etcd"), True),
        (Directory(0o755, "etcd:etcd"), False),
        (Directory(0o700), False),
        (None, False),
    ],
)
def test_a_link_to_a_folder_is_compared_by_that_folder(folder: Directory | None, same: bool) -> None:
    tree = {"/var/lib/etcd": Directory(0o700, "etcd:etcd")}
    found = {"/var/lib/etcd": Seen("l", 0o777, "root:root", 1.0, "/data/etcd", folder=folder)}
    assert (differing(tree, found) == {}) is same


@pytest.mark.parametrize("kind", ["f", "l"])
def test_an_entry_that_should_be_absent_differs(kind: str) -> None:
    assert differing({"/a": Absent()}, {"/a": seen(HELLO, kind=kind)}) == {"/a": Absent()}


def test_a_service_restarts_for_files_and_links_but_not_for_hot_files() -> None:
    tree = {"/unit": HELLO, "/bin": Link("x"), "/cert": File(b"", hot=True), "/dir": Directory()}
    assert watched(tree) == {"/unit", "/bin"}


def test_new_content_is_staged_under_a_name_that_kubelet_ignores() -> None:
    assert staged("/etc/kubernetes/manifests/pod.yaml") == "/etc/kubernetes/manifests/.pod.yaml.kubekeel-new"


def test_the_archive_creates_every_file_with_its_final_mode(tmp_path: Path) -> None:
    tree = {
        "/d": Directory(0o710),
        "/d/secret": File(b"s", 0o600),
        "/d/tool": File(b"t", 0o755),
        "/d/link": Link("tool"),
        "/d/gone": Absent(),
    }
    subprocess.run(["tar", "-xpmf", "-", "-C", tmp_path], input=archive(tree), check=True)
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o710
    assert (tmp_path / "d/.secret.kubekeel-new").stat().st_mode & 0o7777 == 0o600
    assert (tmp_path / "d/.tool.kubekeel-new").read_bytes() == b"t"
    assert (tmp_path / "d/.link.kubekeel-new").readlink() == Path("tool")


def test_the_archive_does_not_depend_on_the_order_of_the_tree() -> None:
    one = {"/b": HELLO, "/a": Directory()}
    other = {"/a": Directory(), "/b": HELLO}
    assert archive(one) == archive(other)
    with tarfile.open(fileobj=io.BytesIO(archive(one))) as tar:
        assert tar.getnames() == ["a", ".b.kubekeel-new"]
