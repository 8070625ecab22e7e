"""What a node's file system shall hold: the vocabulary between rendering and the operations."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True)
class File:
    """A file with its whole content; `hot` says that its readers notice a change without a restart."""

    content: bytes
    mode: int = 0o600
    owner: str = "root:root"
    hot: bool = False

    @property
    def digest(self) -> str:
        return sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Directory:
    """A directory; what it holds besides the files named is left alone."""

    mode: int = 0o755
    owner: str = "root:root"


@dataclass(frozen=True)
class Link:
    """A symbolic link; a new target takes its place by rename."""

    target: str


Entry = File | Directory | Link
Tree = dict[str, Entry]
