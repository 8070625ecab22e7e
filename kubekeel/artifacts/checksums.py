"""SHA-256 digests in publishers' checksum files."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath

_HEX = re.compile(r"[0-9a-f]{64}")


def find(text: str, name: str) -> str | None:
    """Return the SHA-256 of the file `name`; None if the text has none.


    Reads a digest alone, lines as `sha256sum` writes them (with any folder before the name), and the
    listing of a GitHub release.
    """
    if text.lstrip().startswith("{"):
        return _in_listing(text, name)
    words = [line.split() for line in text.lower().splitlines() if line.strip()]
    if len(words) == 1 and len(words[0]) == 1:
        return _valid(words[0][0])
    for line in text.splitlines():
        digest, _, path = line.strip().partition(" ")
        if PurePosixPath(path.strip().removeprefix("*")).name == name:
            return _valid(digest.lower())
    return None


def _in_listing(text: str, name: str) -> str | None:
    try:
        assets = json.loads(text)["assets"]
        return next((_valid(a["digest"].removeprefix("sha256:")) for a in assets if a["name"] == name), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _valid(digest: str) -> str | None:
    return digest if _HEX.fullmatch(digest) else None
