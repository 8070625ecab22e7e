"""The issued and the revoked certificates of nodes, and the generations of administrators.

The file `issued` has a line for each certificate that any node ever got, so that a revocation also covers renewed
certificates and certificates without files. Masters have a copy of it: by that copy, a state directory learns what
another copy of the state directory issued.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from cryptography import x509

from kubekeel.certificates import LEAF_LIFE, fingerprint
from kubekeel.keyfolder import PkiError, damaged

ISSUED, REVOCATIONS = "issued", "revocations.json"
"""The names of the files in the state directory."""
LISTED = "/etc/kubekeel/issued"
"""The copy of the file ISSUED on masters."""

_ADMINISTRATORS = "kubekeel:cluster-admins"


@dataclass(frozen=True, order=True)
class Certificate:
    """A certificate of a node; `serial` and `fingerprint`, its SHA-256, are hexadecimal, `end` is in ISO 8601."""

    node: str
    name: str
    end: str
    serial: str
    fingerprint: str

    @classmethod
    def of(cls, node: str, name: str, certificate: x509.Certificate) -> Certificate:
        end = f"{certificate.not_valid_after_utc:%FT%TZ}"
        return cls(node, name, end, f"{certificate.serial_number:x}", fingerprint(certificate))

    def ended(self, now: datetime) -> bool:
        return datetime.fromisoformat(self.end) <= now


def issued(path: Path, content: bytes | None) -> frozenset[Certificate]:
    """Return the certificates in the file `issued`; raises PkiError if it is damaged."""
    try:
        return parsed((content or b"").decode())
    except ValueError as error:
        raise PkiError([damaged(path, "is not a list of certificates")]) from error


def parsed(text: str) -> frozenset[Certificate]:
    """Return the certificates in a list of issued ones; raises ValueError if it is damaged."""
    return frozenset(map(_certificate, text.splitlines()))


def _certificate(line: str) -> Certificate:
    node, name, end, serial, mark = line.split(" ")
    _ = datetime.fromisoformat(end), int(serial, 16)
    return Certificate(node, name, end, serial, mark)


def lasting(issued: frozenset[Certificate]) -> frozenset[Certificate]:
    """Return the certificates that had not ended when the newest one was issued.

    No clock decides this, so two lists that learn from each other become equal.
    """
    newest = max((datetime.fromisoformat(each.end) for each in issued), default=None)
    return frozenset(each for each in issued if newest and not each.ended(newest - LEAF_LIFE))


def digest(content: bytes) -> str:
    """Return the digest by which a look compares a master's list with the one here."""
    return sha256(content).hexdigest()[:16]


def unread(own: str, lists: Mapping[str, str]) -> list[str]:
    """Return a master for each list that differs from the `own` one; `lists` has their digests by host."""
    return list({each: host for host, each in lists.items() if each not in ("", own)}.values())


def issued_file(certificates: Iterable[Certificate]) -> bytes:
    lines = (f"{each.node} {each.name} {each.end} {each.serial} {each.fingerprint}\n" for each in sorted(certificates))
    return "".join(lines).encode()


@dataclass(frozen=True)
class Revocations:
    """The revocations as of `since`, in ISO 8601; `number` grows with each change.

    `administrators` is the generation of the administrators' group; only the latest generation has their rights.
    """

    number: int = 0
    since: str = "2000-01-01T00:00:00Z"
    administrators: int = 1
    certificates: tuple[Certificate, ...] = ()

    @property
    def administrators_group(self) -> str:
        return _ADMINISTRATORS if self.administrators == 1 else f"{_ADMINISTRATORS}:{self.administrators}"

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.since)

    @cached_property
    def _fingerprints(self) -> frozenset[str]:
        return frozenset(each.fingerprint for each in self.certificates)

    def has(self, certificate: x509.Certificate) -> bool:
        """Return whether this certificate is revoked."""
        return bool(self._fingerprints) and fingerprint(certificate) in self._fingerprints

    def next(self, now: datetime) -> Revocations:
        """Return the same revocations with the next number, without expired certificates."""
        lasting = tuple(each for each in self.certificates if not each.ended(now))
        return replace(self, number=self.number + 1, since=f"{now:%FT%TZ}", certificates=lasting)

    def of_administrators(self, now: datetime) -> Revocations:
        """Return these revocations plus the administrators' current group."""
        return replace(self.next(now), administrators=self.administrators + 1)

    def of(self, certificates: Iterable[Certificate], now: datetime) -> Revocations:
        """Return these revocations plus these certificates."""
        following = self.next(now)
        lasting = (each for each in certificates if not each.ended(now))
        return replace(following, certificates=tuple(sorted({*following.certificates, *lasting})))


def read(path: Path, content: bytes | None) -> Revocations:
    """Return the revocations in a file, none without a file; raises PkiError if it is damaged."""
    if content is None:
        return Revocations()
    try:
        fields = json.loads(content)
        found = Revocations(
            number=int(fields["number"]),
            since=str(fields["since"]),
            administrators=int(fields["administrators"]),
            certificates=tuple(Certificate(**each) for each in fields["certificates"]),
        )
        _ = found.moment
    except (ValueError, KeyError, TypeError) as error:
        raise PkiError([damaged(path, "is not a list of revocations")]) from error
    return found


def written(revocations: Revocations) -> bytes:
    return (json.dumps(asdict(revocations), indent=2) + "\n").encode()
