"""A content-addressed store of files, shared by all clusters of a user and safe under several runs at once.

objects/<sha256>         the bytes; never changed
objects/<sha256>.seen    the stat of the object when its bytes were last verified
records/<hash of key>    the result of the build or download with this key: an address
work/                    unfinished files; renamed into place when complete
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.packed import Packing
from kubekeel.artifacts.progress import say


def default_location() -> Path:
    """Return $KUBEKEEL_CACHE_DIR, else the user's cache folder."""
    return Path(os.environ.get("KUBEKEEL_CACHE_DIR") or platformdirs.user_cache_path("kubekeel"))


class Cache:
    """The store at one location, created if it is missing."""

    def __init__(self, location: Path) -> None:
        self.location = location
        try:
            for folder in ("objects", "records", "work", "locks", "toolchains"):
                (location / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(
                f"{location}: cannot hold the cache ({error.strerror}); set KUBEKEEL_CACHE_DIR to another folder"
            ) from error
        self._sweep()

    def object(self, address: str) -> Path:
        return self.location / "objects" / address

    def recall(self, key: str) -> str | None:
        """Return the address recorded for `key`; None if its bytes are missing or wrong.

        Reading some hundred megabytes takes seconds, so verified bytes are trusted until the file's inode, size or
        times change; every write changes its ctime.
        """
        try:
            address = self._record(key).read_text()
            stat = self._stat(address)
        except FileNotFoundError:
            return None
        if self._seen(address) != stat and not self._verify(address):
            return None
        return address

    def keep(self, key: str, file: Path, mode: int = 0o444) -> str:
        """Move a finished file into the store and record its address for `key`."""
        address = digest(file)
        file.chmod(mode)
        _sync(file)
        os.replace(file, self.object(address))
        self._mark(address)
        self.write(self._record(key), address)
        return address

    def packed(self, address: str, packing: Packing) -> Path:
        """Return the packed object, which is packed on first use."""
        key = f"{packing.recipe} {address}"
        with self.lock(key), self.work() as folder:
            if known := self.recall(key):
                return self.object(known)
            part = folder / "packed"
            with self.object(address).open("rb") as plain, part.open("wb") as packed:
                packing.pack(plain, packed)
            return self.object(self.keep(key, part))

    @contextmanager
    def work(self) -> Iterator[Path]:
        """Yield a temporary folder on the store's file system."""
        with self._working(fcntl.LOCK_SH), tempfile.TemporaryDirectory(dir=self.location / "work") as folder:
            yield Path(folder)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock `name` against all other runs that use this store; print a line if it has to wait."""
        lock = FileLock(self.location / "locks" / sha256(name.encode()).hexdigest()[:32])
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"waiting for another run: {name}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def write(self, target: Path, text: str) -> None:
        """Write a small file so that readers see all of it or nothing."""
        with self.work() as folder:
            part = folder / "text"
            part.write_text(text)
            _sync(part)
            os.replace(part, target)

    def _sweep(self) -> None:
        """Remove the unfinished files of killed runs, unless a run is active now."""
        try:
            with self._working(fcntl.LOCK_EX | fcntl.LOCK_NB):
                for left in (self.location / "work").iterdir():
                    shutil.rmtree(left)
        except BlockingIOError:
            return

    @contextmanager
    def _working(self, lock: int) -> Iterator[None]:
        descriptor = os.open(self.location / "work", os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, lock)
            yield
        finally:
            # Unlock explicitly: under pyinfra's gevent a close may come later than the next wait for this lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _record(self, key: str) -> Path:
        return self.location / "records" / sha256(key.encode()).hexdigest()

    def _stat(self, address: str) -> str:
        stat = self.object(address).stat()
        return f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"

    def _seen_file(self, address: str) -> Path:
        return self.location / "objects" / f"{address}.seen"

    def _seen(self, address: str) -> str:
        try:
            return self._seen_file(address).read_text()
        except FileNotFoundError:
            return ""

    def _mark(self, address: str) -> None:
        self.write(self._seen_file(address), self._stat(address))

    def _verify(self, address: str) -> bool:
        if digest(self.object(address)) == address:
            self._mark(address)
            return True
        say(f"{self.object(address)}: changed on disk; this run deletes it and makes it again")
        self.object(address).unlink(missing_ok=True)
        return False


def digest(file: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with file.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()


def _sync(file: Path) -> None:
    with file.open("rb") as content:
        os.fsync(content.fileno())
