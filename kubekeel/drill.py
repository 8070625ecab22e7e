"""The content of a backup's snapshot after a trial restore, and its faults."""

from __future__ import annotations

import json
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from kubekeel.encryption import EncryptionKeys

_PROVIDER = "secretbox"


@dataclass(frozen=True)
class Encrypted:
    """The values of one kind that are encrypted with one key, and a sample: the first value as etcd stores it."""

    count: int
    provider: str
    key: str
    sample: bytes = field(repr=False)


@dataclass(frozen=True)
class Drill:
    """A restored snapshot: the revisions `written` in it and `served` by etcd; the other fields are by kind."""

    written: int
    served: int
    objects: Mapping[str, int]
    encrypted: Mapping[str, tuple[Encrypted, ...]]

    @classmethod
    def read(cls, lines: Iterable[str]) -> Drill:
        """Parse the output of files/etcd/verify-snapshot.sh."""
        written = served = 0
        objects: dict[str, int] = {}
        encrypted: defaultdict[str, list[Encrypted]] = defaultdict(list)
        for line in lines:
            match line.split(" ", 1):
                case ["written", text]:
                    written = json.loads(text)["revision"]
                case ["served", text]:
                    served = json.loads(text)[0]["Status"]["header"]["revision"]
                case ["objects", text]:
                    count, kind = text.split()
                    objects[kind] = int(count)
                case ["encrypted", text]:
                    count, kind, provider, key, sample = text.split(" ")
                    encrypted[kind].append(Encrypted(int(count), provider, key, b64decode(sample)))
        return cls(written, served, objects, {kind: tuple(each) for kind, each in encrypted.items()})

    def faults(self, keys: EncryptionKeys) -> Iterator[str]:
        """Yield the reasons why a cluster restored from this snapshot would lack data, one line each."""
        if not self.written or self.served != self.written:
            yield (
                f"snapshot.db: etcd serves another revision than it has ({self.served}, not {self.written});"
                " take another backup"
            )
        if not self.objects:
            yield "snapshot.db: contains no Kubernetes object (0); take another backup"
        secrets = {key.name: b64decode(key.secret) for key in keys}
        for kind, parts in self.encrypted.items():
            for part in parts:
                if why := _unreadable(part, secrets):
                    yield f"{kind}: {part.count} cannot be read ({why}); take another backup, with the keys in use"


def _unreadable(part: Encrypted, secrets: Mapping[str, bytes]) -> str:
    """Return why the API server could not read such a value; empty if it can."""
    if part.provider != _PROVIDER:
        return f"encrypted by {part.provider}, which Kubekeel cannot check"
    if part.key not in secrets:
        return f"encrypted with {part.key}, which is not in the backup: that has {', '.join(secrets)}"
    # k8s:enc:secretbox:v1:KEY:, then the nonce, then the sealed value; etcdctl ends its output with a newline.
    sealed = part.sample.split(b":", 5)[-1][:-1]
    try:
        SecretBox(secrets[part.key]).decrypt(sealed)
    except (CryptoError, ValueError):
        return f"the backup's {part.key} does not decrypt it"
    return ""
