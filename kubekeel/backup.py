"""A cluster's backup: one encrypted file with a snapshot of etcd, the cluster's keys, and the lock of its artifacts.

The file is a gzipped tar: `metadata.json` first, then `state/...` as in the state directory, `snapshot.db` last. It
is encrypted in frames, so that writing and reading it need little memory:

    kubekeel backup 1\\n | salt, 16 bytes | prefix, 7 bytes | frame | frame | ... | last frame

A frame is 1 MiB, the last one shorter, sealed with AES-256-GCM: 16 bytes more. Its nonce is the prefix, the frame's
number (4 bytes, big-endian) and a byte that is 1 in the last frame; each frame authenticates the header, too. scrypt
derives the key from the passphrase and the salt, with N = 2^17, r = 8, p = 1.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from pathlib import Path, PurePosixPath
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from kubekeel.cluster import Cluster
from kubekeel.durable import replace
from kubekeel.encryption import with_all_keys
from kubekeel.keyfolder import locked, read
from kubekeel.pki import ENCRYPTION_KEYS, ROOTS, generations
from kubekeel.revocations import ISSUED

_MAGIC = b"kubekeel backup 1\n"
_SALT, _PREFIX = 16, 7
_FRAME = 1 << 20
_TAG = 16
_HASH = 32
_COST = 1 << 17
_STATE = "state/"

# These files belong to this computer or to its machines, or each run rewrites them.
_LEFT_OUT = frozenset({"known_hosts", "admin.conf", "run.lock", ".lock"})


class BackupError(Exception):
    """The faults of a backup that cannot be made or used, one line each."""

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        super().__init__("\n".join(faults))


@dataclass(frozen=True)
class Metadata:
    """The description of a backup; `files` has the sha256 of the state directory's files, `snapshot` the snapshot's."""

    cluster: str
    kubernetes_version: str
    taken: str
    member: str
    nodes: dict[str, str]
    files: dict[str, str]
    snapshot: str
    size: int


def default_path(state_dir: Path, cluster: Cluster, now: datetime) -> Path:
    return state_dir.parent / "backups" / f"{cluster.name}-{now:%Y-%m-%dT%H%M%SZ}.kubekeel"


def write(path: Path, passphrase: bytes, state_dir: Path, cluster: Cluster, member: str, snapshot: Path) -> Metadata:
    """Write a backup of the state directory and a snapshot atomically, readable by its owner alone.

    Raises BackupError if the snapshot is damaged, or if the file exists already.
    """
    check_snapshot(snapshot)
    if path.exists():
        raise BackupError(f"{path}: exists already; give another name")
    files = {str(file.relative_to(state_dir)): file.read_bytes() for file in _kept(state_dir)}
    metadata = Metadata(
        cluster=cluster.name,
        kubernetes_version=cluster.kubernetes_version,
        taken=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        member=member,
        nodes={node.name: node.address for node in cluster.nodes},
        files={name: sha256(content).hexdigest() for name, content in files.items()},
        snapshot=_digest_of(snapshot),
        size=snapshot.stat().st_size,
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            sealing = _Sealing(file, passphrase)
            with tarfile.open(fileobj=sealing, mode="w|gz") as tar:  # type: ignore[call-overload]
                _add(tar, "metadata.json", json.dumps(asdict(metadata), indent=2).encode())
                for name, content in files.items():
                    _add(tar, f"{_STATE}{name}", content)
                tar.add(snapshot, "snapshot.db", filter=_plain)
            sealing.finish()
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return metadata


def check_snapshot(path: Path) -> None:
    """Raise BackupError if a snapshot of etcd is damaged: its last 32 bytes must be the sha256 of the rest."""
    size = path.stat().st_size
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(max(0, min(_FRAME, size - _HASH - file.tell()))):
            digest.update(chunk)
        expected = file.read()
    if size % 512 != _HASH or digest.digest() != expected:
        raise BackupError(f"{path.name}: is damaged or is not a snapshot of etcd ({size} bytes); take another one")


@dataclass(frozen=True)
class Backup:
    """A backup that was read completely, so no part of it is damaged."""

    path: Path
    metadata: Metadata
    _passphrase: bytes = field(repr=False)

    @classmethod
    def open(cls, path: Path, passphrase: bytes) -> Backup:
        """Read and check a backup; raises BackupError if any part of it is damaged."""
        with _reading(path, passphrase) as tar:
            entries = iter(tar)
            metadata = Metadata(**json.loads(_file(tar, next(entries)).read()))
            seen = {entry.name: _digest(_file(tar, entry)) for entry in entries}
        files = {f"{_STATE}{name}": digest for name, digest in metadata.files.items() if _is_within(name)}
        if seen != {**files, "snapshot.db": metadata.snapshot}:
            raise BackupError(f"{path}: its files differ from its list of files; use another backup")
        return cls(path, metadata, passphrase)

    def wanted(self, state_dir: Path) -> dict[str, bytes]:
        """Return the files of the backup that a state directory lacks, by their names there.

        Existing files are newer, and stay. The encryption keys of both are merged: the snapshot needs a key of the
        backup, and the state directory's keys may have no other copy. Raises BackupError and PkiError if the state
        directory belongs to another cluster, or does not trust the keys of the backup.
        """
        with _reading(self.path, self._passphrase) as tar:
            kept = {
                entry.name.removeprefix(_STATE): _file(tar, entry).read()
                for entry in tar
                if entry.name.startswith(_STATE)
            }
        existing = {name: content for name in kept if (content := read(state_dir, name)) is not None}
        different = {name for name, content in existing.items() if content != kept[name]} - {ENCRYPTION_KEYS}
        lacking, related = _lacking(existing, kept), _related(existing, kept)
        if foreign := [name for name, root in lacking.items() if not related or root.conflicts]:
            raise BackupError(
                *(
                    f"{state_dir / name}: belongs to another cluster than the backup; move {state_dir} away"
                    for name in foreign
                )
            )
        if lacking:
            raise BackupError(self._of_another_time(state_dir, lacking))
        # Never mix a certificate of one pair with the key of another.
        changed = {_pair(name) for name in different}
        wanted = {
            name: content for name, content in kept.items() if name not in existing and _pair(name) not in changed
        }
        if ENCRYPTION_KEYS in existing:
            both = [(state_dir / ENCRYPTION_KEYS, existing[ENCRYPTION_KEYS]), (self.path, kept[ENCRYPTION_KEYS])]
            merged = with_all_keys(both)
            if {*merged.splitlines()} != {*existing[ENCRYPTION_KEYS].splitlines()}:
                wanted[ENCRYPTION_KEYS] = merged
        return wanted

    def _of_another_time(self, state_dir: Path, lacking: Mapping[str, _Root]) -> str:
        rotation = f"a rotation of this cluster's keys ({', '.join(lacking)})"
        if all(root.newer for root in lacking.values()):
            return (
                f"{state_dir}: has newer keys than {self.path}, which is from before {rotation}; restore a later"
                f" backup, or reset the hosts and move {state_dir} away: this one then brings its own keys"
            )
        return (
            f"{state_dir}: has older keys than {self.path}, which is from after {rotation}; move {state_dir} away: the"
            " backup brings its own keys"
        )

    def snapshot(self, size: int) -> Iterator[bytes]:
        """Yield the snapshot in pieces of this size."""
        with _reading(self.path, self._passphrase) as tar:
            for entry in tar:
                if entry.name == "snapshot.db":
                    file = _file(tar, entry)
                    while piece := file.read(size):
                        yield piece


@dataclass(frozen=True)
class _Root:
    """The generations of a root's file, in the state directory and in the backup."""

    ours: Mapping[int, bytes]
    theirs: Mapping[int, bytes]

    @property
    def complete(self) -> bool:
        return self.theirs.items() <= self.ours.items()

    @property
    def conflicts(self) -> bool:
        return any(self.ours.get(number, block) != block for number, block in self.theirs.items())

    @property
    def newer(self) -> bool:
        return max(self.ours) >= max(self.theirs)


def _lacking(existing: Mapping[str, bytes], kept: Mapping[str, bytes]) -> dict[str, _Root]:
    """Return the files of roots without all generations of the backup, except the encryption keys."""
    names = {file for files in ROOTS.values() for file in files} & existing.keys() - {ENCRYPTION_KEYS}
    roots = {name: _Root(generations(existing[name]), generations(kept[name])) for name in sorted(names)}
    return {name: root for name, root in roots.items() if not root.complete}


def _related(existing: Mapping[str, bytes], kept: Mapping[str, bytes]) -> bool:
    """Return whether both are of one cluster: they list a certificate, or have a key, in common."""
    ours, theirs = ({*files.get(ISSUED, b"").splitlines()} for files in (existing, kept))
    return bool(ours & theirs) or any(name.endswith(".key") for name, _ in existing.items() & kept.items())


def read_passphrase(path: Path) -> bytes:
    """Return the first line of a file that only its owner can read; raises BackupError."""
    try:
        mode = path.stat().st_mode & 0o777
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BackupError(f"{path}: cannot be read ({error.strerror}); write the passphrase into it") from error
    if mode & 0o077:
        raise BackupError(f"{path}: is readable by others (mode {mode:04o}); run chmod 600 {path}")
    if not lines or not lines[0]:
        raise BackupError(f"{path}: has no passphrase; write one into its first line")
    return lines[0]


def _is_within(name: str) -> bool:
    """Return whether a file of this name stays inside the folder that it is written to."""
    parts = PurePosixPath(name).parts
    return bool(parts) and "/".join(parts) == name and ".." not in parts


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return _digest(file)


def _kept(state_dir: Path) -> list[Path]:
    return sorted(
        file
        for file in state_dir.rglob("*")
        if file.is_file() and file.relative_to(state_dir).as_posix() not in _LEFT_OUT and file.suffix != ".new"
    )


def put_in_place(state_dir: Path, files: Mapping[str, bytes], now: datetime) -> None:
    """Put files into a state directory; replaced files stay in `pki-replaced/TIME` next to `pki`."""
    if not files:
        return
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = state_dir.with_name(f"{state_dir.name}-replaced")
    with locked(state_dir):
        replaced = {name: existing for name in files if (existing := read(state_dir, name)) not in (None, files[name])}
        for name, content in replaced.items():
            _put(kept / f"{now:%Y-%m-%dT%H%M%SZ}" / name, content)
        # The roots last: while a root is missing and leaves exist, no run creates new roots.
        for name in sorted(files, key=lambda name: name.count("/"), reverse=True):
            _put(state_dir / name, files[name])


def _put(path: Path, content: bytes) -> None:
    for folder in (*reversed(path.parents), path.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    mode = 0o644 if path.suffix in (".crt", ".pub") else 0o600
    replace(path, content, mode)


def _pair(name: str) -> str:
    """Return the name that a certificate and its key share."""
    return name.removesuffix(".crt").removesuffix(".key")


# The tar inside the backup.


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    tar.addfile(member, io.BytesIO(content))


def _file(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> io.BufferedReader:
    file = tar.extractfile(entry)
    if not isinstance(file, io.BufferedReader):
        raise ValueError(f"{entry.name} is not a file")
    return file


def _digest(file: io.BufferedReader) -> str:
    return file_digest(file, "sha256").hexdigest()


@contextmanager
def _reading(path: Path, passphrase: bytes) -> Iterator[tarfile.TarFile]:
    """Yield a backup's tar, to read once from start to end; raises BackupError if it cannot be read or decrypted."""
    try:
        with (
            path.open("rb") as file,
            tarfile.open(fileobj=_Opening(file, passphrase), mode="r|gz") as tar,  # type: ignore[call-overload]
        ):
            yield tar
    except OSError as error:
        raise BackupError(f"{path}: cannot be read ({error.strerror or error}); give the path of a backup") from error
    except (InvalidTag, EOFError, ValueError, KeyError, TypeError, tarfile.TarError, zlib.error) as error:
        raise BackupError(
            f"{path}: cannot be decrypted ({type(error).__name__}); the passphrase is wrong, or the file is"
            " damaged: give the right one, or use another backup"
        ) from error


# The encryption.


def _key(passphrase: bytes, salt: bytes) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(passphrase))


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([last])


class _Sealing:
    """A writer that encrypts into a file."""

    def __init__(self, file: IO[bytes], passphrase: bytes) -> None:
        salt, self._prefix = secrets.token_bytes(_SALT), secrets.token_bytes(_PREFIX)
        self._header = _MAGIC + salt + self._prefix
        self._key = _key(passphrase, salt)
        self._file = file
        self._waiting = bytearray()
        self._number = 0
        file.write(self._header)

    def write(self, data: bytes) -> int:
        self._waiting += data
        while len(self._waiting) >= _FRAME:
            self._seal(bytes(self._waiting[:_FRAME]), last=False)
            del self._waiting[:_FRAME]
        return len(data)

    def finish(self) -> None:
        self._seal(bytes(self._waiting), last=True)

    def _seal(self, frame: bytes, last: bool) -> None:
        self._file.write(self._key.encrypt(_nonce(self._prefix, self._number, last), frame, self._header))
        self._number += 1


class _Opening:
    """A reader that decrypts a file; raises InvalidTag if the file was changed."""

    def __init__(self, file: IO[bytes], passphrase: bytes) -> None:
        self._header = file.read(len(_MAGIC) + _SALT + _PREFIX)
        if not self._header.startswith(_MAGIC):
            raise ValueError("not a backup")
        salt = self._header[len(_MAGIC) : -_PREFIX]
        self._key = _key(passphrase, salt)
        self._file = file
        self._open = b""
        self._number = 0
        self._ended = False

    def read(self, size: int) -> bytes:
        while len(self._open) < size and not self._ended:
            frame = self._file.read(_FRAME + _TAG)
            # Only the last frame is shorter. The last frame of a truncated file was not sealed as the last one.
            self._ended = len(frame) < _FRAME + _TAG
            nonce = _nonce(self._header[-_PREFIX:], self._number, self._ended)
            self._open += self._key.decrypt(nonce, frame, self._header)
            self._number += 1
        data, self._open = self._open[:size], self._open[size:]
        return data
