"""The files of the state directory: pairs that are complete at any moment, private from their first byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from kubekeel.durable import beside, replace, sync_folder, write_new

_WRITERS = ".lock"


class PkiError(Exception):
    """All faults of the state directory, one line each."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


def damaged(path: Path, problem: str) -> str:
    return f"{path}: {problem}; restore it from a backup, or for a node's certificate remove it and its key"


@dataclass(frozen=True)
class Change:
    """Files to write together, by their names in the state directory, and files to remove after that."""

    private: Mapping[str, bytes] = field(default_factory=dict)
    public: Mapping[str, bytes] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.private or self.public or self.removed)


@dataclass(frozen=True)
class KeyFolder:
    """The state directory as if interrupted writes were finished, and as if it had the files `over`.

    Names of files are relative to it.
    """

    folder: Path
    over: Mapping[str, bytes] = field(default_factory=dict)

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None if there is no such file."""
        if name in self.over:
            return self.over[name]
        path = _finished(self.folder / name)
        return path.read_bytes() if path.exists() else None

    def has_leaves(self) -> bool:
        issued = (*self.folder.glob("nodes/*/*.crt"), *self.folder.glob("control/*.crt"))
        return bool(issued) or any(name.startswith(("nodes/", "control/")) for name in self.over)

    def certificates(self, below: str) -> list[str]:
        """Return the names of the certificates in one of its folders."""
        existing = (str(path.relative_to(self.folder)) for path in self.folder.glob(f"{below}/*.crt"))
        over = (name for name in self.over if name.startswith(f"{below}/") and name.endswith(".crt"))
        return sorted({*existing, *over})


def read(state_dir: Path, name: str) -> bytes | None:
    """Return a file of the state directory as if interrupted writes were finished; None if there is no such file."""
    return KeyFolder(state_dir).read(name)


def put(state_dir: Path, change: Change) -> None:
    """Put files in place; after an interruption at any point `finish_interrupted_writes` completes the pairs."""
    private = {state_dir / name: content for name, content in change.private.items()}
    public = {state_dir / name: content for name, content in change.public.items()}
    for folder in {path.parent for path in (*private, *public)}:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, content in private.items():
        write_new(beside(path), content, 0o600)
    for path, content in public.items():
        write_new(beside(path), content, 0o644)
    _rename(private)
    _rename(public)
    for name in change.removed:
        (state_dir / name).unlink(missing_ok=True)
    for folder in {(state_dir / name).parent for name in change.removed}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def finish_interrupted_writes(state_dir: Path) -> None:
    keys = set(state_dir.rglob("*.key.new"))
    for path in [*state_dir.rglob("*.crt.new"), *state_dir.rglob("*.pub.new")]:
        final = path.with_suffix("")
        # While the new key also waits, the old pair is still in place.
        path.unlink() if final.with_suffix(".key.new") in keys else path.replace(final)
    for path in keys:
        path.unlink()


def _finished(path: Path) -> Path:
    """Return the file that will be `path` once interrupted writes are finished."""
    waits = path.suffix in (".crt", ".pub") and beside(path).exists()
    return beside(path) if waits and not beside(path.with_suffix(".key")).exists() else path


def write_private(path: Path, content: bytes) -> None:
    """Replace a file of the state directory, readable by its owner alone; an interruption leaves the old one."""
    with locked(path.parent):
        if path.is_file() and path.read_bytes() == content:
            return
        replace(path, content, 0o600)


def locked(state_dir: Path) -> FileLock:
    """Return the lock that lets only one run write into the state directory."""
    return FileLock(state_dir / _WRITERS, mode=0o600)


def unchanged(state_dir: Path) -> AbstractContextManager[object]:
    """Return the lock that keeps writers away; if nobody ever wrote, there is no lock, and none is created."""
    return locked(state_dir) if (state_dir / _WRITERS).exists() else nullcontext()


def _rename(paths: Iterable[Path]) -> None:
    for path in paths:
        beside(path).replace(path)
    for folder in {path.parent for path in paths}:
        sync_folder(folder)
