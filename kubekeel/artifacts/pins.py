"""The lock file: the source of a cluster's artifacts, and the SHA-256 that each must have."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from kubekeel.artifacts.cache import Cache
from kubekeel.artifacts.errors import ArtifactError
from kubekeel.durable import replace


@dataclass(frozen=True)
class Pin:
    """The SHA-256 that an artifact must have.

    `recipe` identifies the build: another recipe, such as a newer Go, may give other bytes; the same recipe must not.
    All published files have the same recipe.
    """

    name: str
    version: str
    arch: str
    source: str
    recipe: str
    sha256: str

    @property
    def key(self) -> str:
        return f"{self.name} {self.version} {self.arch} {self.source}"


class _Content(TypedDict):
    source: str | None
    artifacts: dict[str, dict[str, str]]


class Pins:
    """The lock file at a path, with new pins in memory until `save` writes them there.

    `instead` is the content that is about to replace the file.
    """

    def __init__(self, path: Path, instead: bytes | None = None) -> None:
        self._path = path
        self._instead = instead
        self._decided: str | None = None
        self._new: dict[str, Pin] = {}

    @property
    def source(self) -> str | None:
        """The source that `auto` stands for."""
        return self._content()["source"] or self._decided

    def decide(self, source: str) -> None:
        """Let `auto` stand for `source` from now on, unless the lock file names another one."""
        self._decided = source

    def confirm(self, pins: Iterable[Pin]) -> None:
        """Add new pins; raise ArtifactError with all pins that differ from an earlier one."""
        self._new |= {pin.key: pin for pin in pins}
        self._pinned(self._content())

    @property
    def saved(self) -> bool:
        """Whether the file has all pins."""
        content = self._content()
        return self._instead is None and self._pinned(content) == content

    def save(self, cache: Cache) -> None:
        """Write the new pins atomically; ArtifactError if another run has pinned other bytes meanwhile."""
        with cache.lock(f"lock file {self._path.resolve()}"):
            self._instead = None
            content = self._content()
            if (pinned := self._pinned(content)) != content:
                self._write(pinned)

    def _pinned(self, content: _Content) -> _Content:
        """Return `content` with the new pins."""
        artifacts, faults = dict(content["artifacts"]), []
        for key, pin in self._new.items():
            known = artifacts.get(key)
            if known and known["recipe"] == pin.recipe and known["sha256"] != pin.sha256:
                faults.append(
                    f"{key}: is not what {self._path} pins (sha256 {pin.sha256}, pinned "
                    f"{known['sha256']}); find out why before use: to accept it, delete that entry there"
                )
            artifacts[key] = {"recipe": pin.recipe, "sha256": pin.sha256}
        if faults:
            raise ArtifactError(*faults)
        return {"source": content["source"] or self._decided, "artifacts": artifacts}

    def _content(self) -> _Content:
        try:
            content = json.loads(self._path.read_bytes() if self._instead is None else self._instead)
            return {"source": content["source"], "artifacts": dict(content["artifacts"])}
        except FileNotFoundError:
            return {"source": None, "artifacts": {}}
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{self._path}: is not a lock file of Kubekeel ({error}); restore it from version control"
            ) from error

    def _write(self, content: _Content) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace(self._path, f"{json.dumps(content, indent=2, sort_keys=True)}\n".encode(), 0o644)
