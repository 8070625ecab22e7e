"""The desired and the observed files of a host, and the archive with the difference."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath


@dataclass(frozen=True)
class File:
    """A file with its content; if it is `hot`, its readers notice a change without a restart."""

    content: bytes
    mode: int = 0o600
    owner: str = "root:root"
    hot: bool = False

    @property
    def digest(self) -> str:
        return sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Directory:
    """A directory, or a link to one; other entries in it are left alone."""

    mode: int = 0o755
    owner: str = "root:root"


@dataclass(frozen=True)
class Link:
    """A symbolic link; a rename puts a new target in place."""

    target: str


@dataclass(frozen=True)
class Absent:
    """No file and no link; an existing one is removed."""


Entry = File | Directory | Link | Absent
Tree = Mapping[str, Entry]


@dataclass(frozen=True)
class Seen:
    """The observed state of a path; `kind` is find's letter (f, d, l), `changed` is in seconds since the epoch.

    For a link, `folder` is the directory that it leads to, None if it does not lead to a directory.
    """

    kind: str
    mode: int
    owner: str
    changed: float
    target: str = ""
    digest: str = ""
    folder: Directory | None = None


def differing(tree: Tree, seen: Mapping[str, Seen]) -> Tree:
    """Return the entries of `tree` that a host lacks or has in another state."""
    return {path: entry for path, entry in tree.items() if not _same(entry, seen.get(path))}


def _same(entry: Entry, seen: Seen | None) -> bool:
    match entry, seen:
        case _, None:
            return isinstance(entry, Absent)
        case Link(target), Seen(kind="l"):
            return seen.target == target
        case Directory(mode, owner), Seen(kind="d"):
            return (seen.mode, seen.owner) == (mode, owner)
        # A link may put etcd's data on another disk: then its target counts as the folder.
        case Directory(), Seen(kind="l"):
            return seen.folder == entry
        case File(mode=mode, owner=owner), Seen(kind="f"):
            return (seen.mode, seen.owner, seen.digest) == (mode, owner, entry.digest)
    return False


def watched(tree: Tree) -> frozenset[str]:
    """Return the paths whose changes require a restart of the service."""
    return frozenset(
        path for path, entry in tree.items() if isinstance(entry, Link) or (isinstance(entry, File) and not entry.hot)
    )


def staged(path: str) -> str:
    """Return the path where new content of `path` waits for its rename: kubelet ignores only dotfiles."""
    place = PurePosixPath(path)
    return str(place.with_name(f".{place.name}.kubekeel-new"))


def archive(tree: Tree) -> bytes:
    """Return a tar of `tree`, with files and links under their staged names, for root to unpack at /."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, entry in sorted(tree.items()):
            if not isinstance(entry, Absent):
                tar.addfile(*_member(path, entry))
    return target.getvalue()


def _member(path: str, entry: File | Directory | Link) -> tuple[tarfile.TarInfo, io.BytesIO]:
    member = tarfile.TarInfo(staged(path).lstrip("/"))
    content = b""
    match entry:
        case Directory(mode, owner):
            member.name = path.lstrip("/")
            member.type, member.mode = tarfile.DIRTYPE, mode
            member.uname, member.gname = owner.split(":")
        case Link(target):
            member.type, member.linkname = tarfile.SYMTYPE, target
        case File(content, mode, owner):
            member.mode, member.size = mode, len(content)
            member.uname, member.gname = owner.split(":")
    return member, io.BytesIO(content)
