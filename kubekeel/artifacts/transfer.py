"""Files by URL: from their publishers, or from a mirror of the same tree."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from kubekeel.artifacts.errors import ArtifactError
from kubekeel.artifacts.progress import transferring

_ATTEMPTS = 4
_PAUSE = 0.5
_TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class TemporaryFault(ArtifactError):
    """A fault that may be temporary."""


def client() -> httpx.Client:
    """Return an HTTP client for downloads, which follows redirects and takes proxies from the environment."""
    return httpx.Client(
        follow_redirects=True,
        timeout=httpx.Timeout(30, connect=10),
        headers={"User-Agent": "kubekeel", "Accept-Encoding": "identity"},
    )


class Files:
    """The files of all publishers by URL, from the publishers or from a mirror (a folder or base URL)."""

    def __init__(self, mirror: str | None) -> None:
        self.mirror = mirror

    @cached_property
    def _client(self) -> httpx.Client:
        # Created on first use, because it reads all authorities that this computer trusts.
        return client()

    def fetch(self, url: str, target: Path) -> None:
        """Write a publisher's file at `url` to `target`; ArtifactError if it is not available."""
        place = self._place(url)
        if isinstance(place, str):
            download(self._client, place, target)
            return
        try:
            shutil.copyfile(place, target)
        except FileNotFoundError as error:
            raise ArtifactError(
                f"{place}: is not in the mirror; complete it with `python3 -m kubekeel.artifacts bundle`"
            ) from error
        except OSError as error:
            raise ArtifactError(f"{place}: cannot be read ({error.strerror}); repair the mirror") from error

    def answers(self, url: str) -> bool:
        """Return whether the file is available, within seconds."""
        place = self._place(url)
        if isinstance(place, Path):
            return place.is_file()
        try:
            return self._client.get(place, timeout=5).is_success
        except httpx.TransportError:
            return False

    def _place(self, url: str) -> str | Path:
        if self.mirror is None:
            return url
        parts = urlsplit(url)
        if self.mirror.startswith(("http://", "https://")):
            return f"{self.mirror.rstrip('/')}/{parts.netloc}{parts.path}"
        return tree_path(Path(self.mirror).expanduser(), url)


def tree_path(folder: Path, url: str) -> Path:
    """Return the path of the file of `url` in a mirror's `folder`."""
    parts = urlsplit(url)
    return folder / parts.netloc / parts.path.lstrip("/")


def download(session: httpx.Client, url: str, target: Path, headers: Mapping[str, str] | None = None) -> None:
    """Write the body at `url` to `target`; after a broken connection, continue with the rest."""
    target.unlink(missing_ok=True)
    version, fault = "", ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE * 2**attempt)
        done = target.stat().st_size if target.exists() else 0
        wanted = dict(headers or {})
        if done and version:
            wanted |= {"Range": f"bytes={done}-", "If-Range": version}
        try:
            with session.stream("GET", url, headers=wanted) as response:
                check(url, response)
                version = _strong(response.headers.get("ETag", ""))
                _write(response, target, done if response.status_code == httpx.codes.PARTIAL_CONTENT else 0)
                return
        except (httpx.TransportError, TemporaryFault) as error:
            fault = str(error) or type(error).__name__
    raise ArtifactError(
        f"{url}: cannot be fetched ({fault}); check the connection, or set artifact_source to 'mirror' or 'source'"
    )


def check(url: str, response: httpx.Response) -> None:
    """Raise ArtifactError unless the response is a success, and encrypted if `url` is."""
    if url.startswith("https:") and response.url.scheme != "https":
        raise ArtifactError(f"{url}: redirects to an unencrypted address ({response.url}); use another source")
    if response.status_code in _TRY_AGAIN:
        raise TemporaryFault(f"{url}: is unavailable at the moment (status {response.status_code}); try again later")
    if response.status_code == httpx.codes.NOT_FOUND:
        raise ArtifactError(f"{url}: does not exist (status 404); check the version and the mirror")
    if not response.is_success:
        raise ArtifactError(f"{url}: is refused (status {response.status_code}); use another source")


def _strong(tag: str) -> str:
    """Return a strong entity tag, which identifies the bytes; empty for a weak one."""
    return "" if tag.startswith("W/") else tag


def _write(response: httpx.Response, target: Path, done: int) -> None:
    length = response.headers.get("Content-Length")
    total = done + int(length) if length else None
    name = urlsplit(str(response.request.url)).path.rsplit("/", 1)[-1]
    with (
        target.open("ab" if done else "wb") as file,
        transferring(f"fetching {name}", total, done) as advance,
    ):
        for chunk in response.iter_bytes():
            file.write(chunk)
            advance(len(chunk))
