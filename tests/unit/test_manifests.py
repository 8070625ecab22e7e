"""The folder `manifests`: its documents become files, and its faults are refused before any host is reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubekeel.files import Directory, File
from kubekeel.manifests import SITE, ManifestError, read

SPACE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: team\n"
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: colours, namespace: team}\ndata: {sky: blue}\n"


def test_a_missing_folder_differs_from_an_empty_one(tmp_path: Path) -> None:
    assert read(tmp_path / "manifests") is None
    (tmp_path / ".hidden").write_text("no: yaml: this")
    assert read(tmp_path) == {SITE: Directory(0o700)}


def test_each_document_is_a_file_named_by_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "10-team.yaml").write_text(
        f"# The team's own.\n---\n{SPACE}---\n\n# Colours.\n{CONFIG}---\n# Nothing.\n"
    )
    (tmp_path / "20-more.json").write_text('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "more"}}')
    tree = read(tmp_path) or {}
    files = [path.removeprefix(f"{SITE}/") for path, entry in sorted(tree.items()) if isinstance(entry, File)]
    assert files == ["10-team.yaml+000003.yaml", "10-team.yaml+000009.yaml", "20-more.json+000001.yaml"]
    assert tree[SITE] == Directory(0o700)
    colours = tree[f"{SITE}/10-team.yaml+000009.yaml"]
    assert isinstance(colours, File)
    assert (colours.mode, b"sky: blue" in colours.content) == (0o600, True)


def test_a_document_may_begin_on_the_line_of_its_separator(tmp_path: Path) -> None:
    (tmp_path / "10.yaml").write_text(
        "---  # Nothing.\n--- {apiVersion: v1, kind: Namespace, metadata: {name: team}}\n"
    )
    assert (read(tmp_path) or {}).keys() == {SITE, f"{SITE}/10.yaml+000002.yaml"}


def test_a_folder_with_a_kustomization_is_copied_unchanged(tmp_path: Path) -> None:
    base = tmp_path / "30-app" / "base"
    base.mkdir(parents=True)
    (tmp_path / "30-app/kustomization.yaml").write_text("resources: [base/colours.yaml]\n")
    (base / "colours.yaml").write_text(CONFIG)
    tree = read(tmp_path) or {}
    assert {path.removeprefix(SITE) for path in tree} == {
        "",
        "/30-app",
        "/30-app/kustomization.yaml",
        "/30-app/base",
        "/30-app/base/colours.yaml",
    }


def test_all_faults_are_named_with_their_files_and_lines(tmp_path: Path) -> None:
    files = {
        "10.yaml": f"{SPACE}---\nkind: [\n",
        "20.yaml": f"{SPACE}---\n- a list\n",
        "30.yaml": f"{SPACE}---\nkind: ConfigMap\nmetadata: {{}}\n",
        "40.txt": "notes",
        "50 a.yaml": SPACE,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "60-app").mkdir()
    with pytest.raises(ManifestError) as refused:
        read(tmp_path)
    assert [fault.partition(";")[0] for fault in refused.value.faults] == [
        "manifests/10.yaml, line 7: is not YAML (expected the node content, but found '<stream end>')",
        "manifests/20.yaml, line 6: is not a Kubernetes object",
        "manifests/30.yaml, line 6: has no apiVersion, metadata.name",
        "manifests/40.txt: is not YAML",
        "manifests/50 a.yaml: its name has characters other than letters, digits and . _ -",
        "manifests/60-app: is a folder without a kustomization.yaml",
    ]
