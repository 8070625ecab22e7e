"""The user's own objects from the folder `manifests` next to the inventory, checked and split into documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kubekeel.files import Directory, Entry, File, Tree

FOLDER = "manifests"

SITE = "/etc/kubernetes/site"
"""The folder on the first master: each document in its own file, FILE+LINE.yaml; folders unchanged."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_YAML = (".yaml", ".yml", ".json")
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")


class ManifestError(Exception):
    """All faults of the folder, one line each."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


@dataclass(frozen=True)
class _Document:
    line: int
    text: str


class _Unfit(ValueError):
    """A fault of an entry of the folder; its text follows the entry's name."""


def _whole(problem: str) -> _Unfit:
    return _Unfit(f": {problem}")


def _at(line: int, problem: str) -> _Unfit:
    return _Unfit(f", line {line}: {problem}")


def read(folder: Path) -> Tree | None:
    """Return the files that the first master gets from the folder; None if there is no folder.

    Names that begin with a dot are ignored. Raises ManifestError.
    """
    if not folder.is_dir():
        return None
    tree: dict[str, Entry] = {SITE: Directory(0o700)}
    faults: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        shown = f"{FOLDER}/{path.name}"
        try:
            tree |= _entries(path)
        except (_Unfit, OSError) as error:
            fault = (
                str(error) if isinstance(error, _Unfit) else f": cannot be read ({error.strerror}); correct its mode"
            )
            faults.append(f"{shown}{fault}")
    if faults:
        raise ManifestError(faults)
    return tree


def _entries(path: Path) -> Mapping[str, Entry]:
    if not _NAME.fullmatch(path.name):
        raise _whole("its name has characters other than letters, digits and . _ -; rename it")
    if path.is_dir():
        return dict(_folder(path))
    if path.suffix not in _YAML:
        raise _whole(f"is not YAML; move it elsewhere, or begin its name with a dot ({', '.join(_YAML)} are read)")
    documents = list(_documents(path.read_text()))
    for document in documents:
        _check(document)
    return {f"{SITE}/{path.name}+{each.line:06}.yaml": File(each.text.encode()) for each in documents}


def _folder(folder: Path) -> Iterator[tuple[str, Entry]]:
    if not any((folder / name).is_file() for name in _KUSTOMIZATIONS):
        raise _whole("is a folder without a kustomization.yaml; write one, or move its files up")
    yield f"{SITE}/{folder.name}", Directory(0o700)
    for path in sorted(folder.rglob("*")):
        place = f"{SITE}/{folder.name}/{path.relative_to(folder).as_posix()}"
        yield place, Directory(0o700) if path.is_dir() else File(path.read_bytes())


def _documents(text: str) -> Iterator[_Document]:
    """Yield the documents of a file that are not empty, each with its first line."""
    start = None
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                start = event.start_mark
            elif isinstance(event, yaml.DocumentEndEvent) and start and event.start_mark:
                content = text[start.index : event.start_mark.index]
                if not _is_empty(content):
                    yield _Document(_first_line(start.line, content), content)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _at(line, f"is not YAML ({error.problem}); correct it") from error


def _is_empty(content: str) -> bool:
    lines = (line.strip() for line in content.removeprefix("---").splitlines())
    return all(not line or line.startswith("#") for line in lines)


def _first_line(line: int, content: str) -> int:
    """Return the line, counted from 1, on which a document's own text begins, after its separator."""
    lines = content.splitlines()
    return line + 1 + next(number for number, each in enumerate(lines) if each.strip() not in ("", "---"))


def _check(document: _Document) -> None:
    try:
        parsed: Any = yaml.safe_load(document.text)
    except yaml.YAMLError as error:
        raise _at(document.line, "is not YAML that Kubernetes reads; correct it") from error
    if not isinstance(parsed, dict):
        raise _at(document.line, "is not a Kubernetes object; write its apiVersion, kind and metadata")
    missing = [key for key in ("apiVersion", "kind") if not isinstance(parsed.get(key), str)]
    metadata = parsed.get("metadata")
    if not str(parsed.get("kind")).endswith("List") and not (isinstance(metadata, dict) and metadata.get("name")):
        missing.append("metadata.name")
    if missing:
        raise _at(document.line, f"has no {', '.join(missing)}; add it")
