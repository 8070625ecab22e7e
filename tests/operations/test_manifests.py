"""Users' objects are applied and kept, and deleted only if their folder exists without them."""

from __future__ import annotations

from kubekeel.files import Directory, Entry, File, Tree
from kubekeel.manifests import SITE
from operations import manifests
from operations.converge import Look
from tests.hosts import as_described
from tests.operations.commands import Commands, Described

EMPTY: dict[str, Entry] = {SITE: Directory(0o700)}
FOLDER: Tree = {**EMPTY, f"{SITE}/10.yaml+000001.yaml": File(b"kind: Namespace")}
DONE = {"alone", "applied", "ready"}


def apply(commands: Commands, tree: Tree | None, there: Tree, holds: set[str]) -> list[str]:
    seen = Described(as_described(dict(there)), conditions={name: name in holds for name in DONE})
    return commands(manifests, "apply", {Look: seen}, tree)


def test_objects_in_their_desired_state_are_left_alone(commands: Commands) -> None:
    assert apply(commands, FOLDER, FOLDER, DONE) == []
    assert apply(commands, EMPTY, EMPTY, DONE) == []
    assert apply(commands, None, {}, DONE) == []


def test_differing_objects_are_sent_applied_and_waited_for(commands: Commands) -> None:
    for there, holds in ((EMPTY, DONE), (FOLDER, DONE - {"applied"}), (FOLDER, DONE - {"alone"})):
        remove, write, applied, wait = apply(commands, FOLDER, there, holds)
        assert remove == f"rm -rf {SITE}"
        assert "tar -x" in write
        assert f"site.sh apply {SITE}" in applied
        assert "objects of manifests/ are not ready" in wait


def test_a_missing_folder_deletes_nothing_and_an_empty_one_does(commands: Commands) -> None:
    (refusal,) = apply(commands, None, FOLDER, {"alone", "ready"})
    assert "manifests/ is missing beside the inventory" in refusal
    assert "site.sh apply" not in refusal
    assert any(f"site.sh apply {SITE}" in command for command in apply(commands, EMPTY, FOLDER, {"ready"}))
