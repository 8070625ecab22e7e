"""The symmetric keys with which API servers encrypt values in etcd, and their file in the state directory."""

from __future__ import annotations

import re
import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from kubekeel.keyfolder import PkiError, damaged

_LINE = re.compile(r"(key[1-9][0-9]*) (\S+)")


@dataclass(frozen=True)
class EncryptionKey:
    """A key with which API servers encrypt values in etcd, each prefixed with its name; `secret` is base64."""

    name: str
    secret: str = field(repr=False)

    @property
    def number(self) -> int:
        """Newer keys have higher numbers."""
        return int(self.name.removeprefix("key"))


EncryptionKeys = tuple[EncryptionKey, ...]
"""The first key writes, all of them read."""


def new(number: int) -> EncryptionKey:
    """Return a new key with this number."""
    return EncryptionKey(f"key{number}", b64encode(secrets.token_bytes(32)).decode())


def written(keys: Iterable[EncryptionKey]) -> bytes:
    """Return the content of the file of these keys."""
    return "".join(f"{key.name} {key.secret}\n" for key in keys).encode()


def read(path: Path, content: bytes) -> EncryptionKeys:
    """Return the keys in the content of the file `path`. Raises PkiError if it is damaged."""
    lines = [_LINE.fullmatch(line) for line in content.decode(errors="replace").splitlines()]
    keys = tuple(EncryptionKey(*line.groups()) for line in lines if line and _is_secret(line[2]))
    if not lines or len(keys) < len(lines):
        raise PkiError([damaged(path, "is not a list of key names, each with the base64 of 32 bytes")])
    return keys


def with_all_keys(files: Iterable[tuple[Path, bytes]]) -> bytes:
    """Return one file with the encryption keys of several, the newest key first; each file comes with its path.

    Raises PkiError if a file is damaged, or if two files have different keys of one name.
    """
    keys: dict[str, EncryptionKey] = {}
    first: dict[str, Path] = {}
    for path, content in files:
        for key in read(path, content):
            if keys.setdefault(key.name, key) != key:
                raise PkiError([f"{path}: has another {key.name} than {first[key.name]}; find out which one is in use"])
            first.setdefault(key.name, path)
    return written(sorted(keys.values(), key=lambda key: key.number, reverse=True))


def _is_secret(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) == 32
    except Base64Error:
        return False
