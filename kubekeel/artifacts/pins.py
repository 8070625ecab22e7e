"""The lock file: which source a cluster's artifacts come from, and the SHA-256 each must have."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubekeel.artifacts.cache import Cache
from kubekeel.artifacts.errors import ArtifactError


@dataclass(frozen=True)
class Pin:
    """What was made or fetched.

    `recipe` says how it was built: another recipe (a newer Go, say) may give other bytes, the same one
    may not. What is published has one recipe for ever.
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


class Pins:
    """The lock file at a path; every change is made under a lock and written whole."""

    def __init__(self, path: Path, cache: Cache) -> None:
        self._path = path
        self._cache = cache

    @property
    def source(self) -> str | None:
        """What `auto` was decided to be."""
        source = self._read()["source"]
        return str(source) if source else None

    def decide(self, source: str) -> str:
        """Pin the decision, unless another run was first; return the one that holds."""
        with self._cache.lock(f"lock file {self._path.resolve()}"):
            content = self._read()
            if content["source"] is None:
                content["source"] = source
                self._write(content)
            return str(content["source"])

    def confirm(self, pins: Iterable[Pin]) -> None:
        """Pin what is new; ArtifactError naming all that differ from what was pinned before."""
        with self._cache.lock(f"lock file {self._path.resolve()}"):
            content = self._read()
            before = json.dumps(content, sort_keys=True)
            pinned, faults = content["artifacts"], []
            for pin in pins:
                known = pinned.get(pin.key)
                if known and known["recipe"] == pin.recipe and known["sha256"] != pin.sha256:
                    faults.append(
                        f"{pin.key}: is not what {self._path} pins (sha256 {pin.sha256}, pinned "
                        f"{known['sha256']}); find out why before use: to accept it, delete that entry there"
                    )
                pinned[pin.key] = {"recipe": pin.recipe, "sha256": pin.sha256}
            if faults:
                raise ArtifactError(*faults)
            if json.dumps(content, sort_keys=True) != before:
                self._write(content)

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text())
            return {"source": content["source"], "artifacts": dict(content["artifacts"])}
        except FileNotFoundError:
            return {"source": None, "artifacts": {}}
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{self._path}: is no lock file of Kubekeel ({error}); restore it from version control"
            ) from error

    def _write(self, content: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(content, file, indent=2, sort_keys=True)
                file.write("\n")
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            os.replace(part, self._path)
        except BaseException:
            os.unlink(part)
            raise
