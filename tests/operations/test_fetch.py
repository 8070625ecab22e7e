"""A host fetches artifacts with a real curl and a real wget, from a web server that may fail."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from kubekeel.artifacts import GZIP, PACKINGS, ZSTD, Artifact, Packing
from kubekeel.delivery import DIRECT, Server, place, publish
from operations import preflight, store
from tests.operations.commands import Host
from tests.packings import needs, pack, packed_file
from tests.web_server import WebServer, serving

# Mostly incompressible, so that the download is long.
CONTENT = b"".join(sha256(str(number).encode()).digest() for number in range(20_000)) + b"#" * 100_000
PACKED = pack(GZIP, CONTENT)
PART = f"{sha256(PACKED).hexdigest()}.part"
PLACE = f"{sha256(PACKED).hexdigest()}/etcd.gz"
# The commands of the script, without curl and wget.
COMMANDS = (
    *("cat", "chmod", "cut", "gunzip", "gzip", "mkdir", "mv", "prlimit", "rm", "sed", "sh", "sha256sum"),
    *("stat", "sync", "head", "df"),
)


@pytest.fixture(params=["curl", "wget"])
def tool(request: pytest.FixtureRequest) -> str:
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture
def folders(tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folders of a host that has one of the programs and does not sleep between tries."""
    monkeypatch.setattr(store, "STORE", str(tmp_path / "store"))
    monkeypatch.setattr(store, "INCOMING", str(tmp_path / "incoming"))
    monkeypatch.setattr(store, "host", Host({store.Stored: set()}))
    for folder in ("bin", "incoming", "served"):
        (tmp_path / folder).mkdir()
    for command in (*COMMANDS, tool):
        (tmp_path / "bin" / command).symlink_to(str(shutil.which(command)))
    (tmp_path / "bin/sleep").symlink_to("/bin/true")
    return tmp_path


@pytest.fixture
def etcd(folders: Path) -> Artifact:
    return Artifact("etcd", "v1", sha256(CONTENT).hexdigest(), Path("unpacked"), packed_file(folders, CONTENT))


@pytest.fixture
def site(folders: Path, etcd: Artifact) -> Iterator[WebServer]:
    assert publish(map(etcd.packed, PACKINGS), folders / "served") == 2
    with serving(folders / "served") as site:
        yield site


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(folders: Path, etcd: Artifact, site: WebServer) -> Run:
    """Return a function that runs the operation's command here, by the command `within`."""

    def run(
        server: Server | None = None, *within: str, packing: Packing = GZIP, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        (command,) = store.store._inner([etcd], server or Server(site.url), packing)
        return subprocess.run(
            [*within, "sh", "-c", command.get_raw_value()],
            input=command.connector_arguments["_stdin"],
            env={"PATH": str(folders / "bin"), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def left(folders: Path) -> Callable[[], list[str]]:
    """Return a function that lists the folder of incoming files."""
    return lambda: sorted(file.name for file in (folders / "incoming").iterdir())


def is_installed(folders: Path, artifact: Artifact) -> bool:
    placed = folders / "store" / artifact.sha256 / "etcd"
    return placed.is_file() and placed.read_bytes() == CONTENT and placed.stat().st_mode & 0o777 == 0o755


def test_a_host_fetches_what_it_lacks_and_the_run_sends_only_kilobytes(
    folders: Path, etcd: Artifact, site: WebServer, run: Run, left: Callable[[], list[str]]
) -> None:
    (command,) = store.store._inner([etcd], Server(site.url))
    assert len(command.get_raw_value()) + len(command.connector_arguments["_stdin"]) < 4000
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert is_installed(folders, etcd)
    assert site.requests == [f"/{PLACE}"]
    assert site.sent == len(PACKED)
    assert left() == []


@pytest.fixture
def zstd(folders: Path) -> None:
    """Let the host have zstd."""
    needs(ZSTD)
    (folders / "bin/zstd").symlink_to(str(shutil.which("zstd")))


@pytest.mark.usefixtures("zstd")
def test_a_host_with_zstd_fetches_the_file_that_zstd_packed(
    folders: Path, etcd: Artifact, site: WebServer, run: Run, left: Callable[[], list[str]]
) -> None:
    done = run(packing=ZSTD)
    assert done.returncode == 0, done.stdout + done.stderr
    assert is_installed(folders, etcd)
    assert site.requests == [f"/{place(etcd.packed(ZSTD))}"]
    assert site.requests[0].endswith("/etcd.zst")
    assert left() == []


def test_an_interrupted_file_is_continued_and_no_byte_is_sent_twice(
    folders: Path, etcd: Artifact, site: WebServer, run: Run
) -> None:
    site.cuts = [200_000, 200_000]
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert is_installed(folders, etcd)
    assert site.ranges == ["bytes=200000-", "bytes=400000-"]
    assert site.sent == len(PACKED)


def test_the_next_run_continues_the_download_of_a_failed_one(
    folders: Path, etcd: Artifact, site: WebServer, run: Run, left: Callable[[], list[str]]
) -> None:
    site.cuts = [300_000, *[0] * 20]
    failed = run()
    assert failed.returncode == 1
    assert failed.stdout.startswith(f"minion1: artifact etcd.gz: could not be fetched from {site.url}/{PLACE} (")
    assert left() == [PART]
    site.cuts = []
    assert run().returncode == 0
    assert is_installed(folders, etcd)
    assert site.ranges[-1] == "bytes=300000-"
    assert site.sent == len(PACKED)


def test_a_server_that_cannot_resume_works_too(
    folders: Path, etcd: Artifact, site: WebServer, run: Run, left: Callable[[], list[str]]
) -> None:
    site.resumes, site.cuts = False, [200_000]
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert is_installed(folders, etcd)
    assert left() == []


def test_a_complete_file_of_an_interrupted_run_is_not_fetched_again(
    folders: Path, etcd: Artifact, site: WebServer, run: Run
) -> None:
    (folders / "incoming" / PART).write_bytes(PACKED)
    assert run().returncode == 0
    assert is_installed(folders, etcd)
    assert site.requests == []


@pytest.mark.parametrize("partial", [b"#" * 1000, b"#" * len(PACKED), b"#" * 2 * len(PACKED)], ids=len)
def test_a_wrong_partial_file_is_replaced(
    folders: Path, etcd: Artifact, run: Run, left: Callable[[], list[str]], partial: bytes
) -> None:
    (folders / "incoming" / PART).write_bytes(partial)
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert is_installed(folders, etcd)
    assert left() == []


@pytest.mark.parametrize("position", [0, len(PACKED) // 2, len(PACKED) - 1])
def test_wrong_bytes_are_refused_and_deleted(
    folders: Path, site: WebServer, run: Run, left: Callable[[], list[str]], position: int
) -> None:
    flipped = bytearray(PACKED)
    flipped[position] ^= 1
    (site.root / PLACE).write_bytes(flipped)
    done = run()
    assert done.returncode == 1
    message = f"is not what this run packed (sha256 {sha256(flipped).hexdigest()}, from {site.url}/{PLACE}); publish"
    assert done.stdout.startswith(f"minion1: artifact etcd.gz: {message}")
    assert len(site.requests) == 1
    assert left() == []
    assert not (folders / "store").exists()


@pytest.mark.parametrize("status", [404, 503])
def test_a_refusal_names_the_url_the_error_and_a_remedy(
    site: WebServer, run: Run, left: Callable[[], list[str]], status: int
) -> None:
    site.status = status
    done = run()
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"minion1: artifact etcd.gz: could not be fetched from {site.url}/{PLACE} (")
    assert str(status) in line
    assert line.endswith("then run again")
    assert left() == []


def test_a_proxy_is_used_and_its_credentials_are_in_no_argument(
    tool: str, folders: Path, etcd: Artifact, site: WebServer, run: Run
) -> None:
    recorded, program = folders / "arguments", folders / "bin" / tool
    program.unlink()
    seen = f"{{ echo \"$@\"; env; stat -c '%n %a' fetch.conf; }} >>{recorded}"
    program.write_text(f'#!/bin/sh\n{seen}\nexec {shutil.which(tool)} "$@"\n')
    program.chmod(0o755)
    (folders / "bin/env").symlink_to("/usr/bin/env")
    proxy = site.url.replace("//", "//jane:s3cret@")
    done = run(Server("http://files.example", proxy), no_proxy="files.example", NO_PROXY="files.example")
    assert done.returncode == 0, done.stdout + done.stderr
    assert is_installed(folders, etcd)
    assert site.requests == [f"http://files.example/{PLACE}"]
    assert site.signed_in == [f"Basic {base64.b64encode(b'jane:s3cret').decode()}"]
    assert "files.example" in recorded.read_text()
    assert "fetch.conf 600" in recorded.read_text()
    assert "s3cret" not in recorded.read_text()


def test_an_unreachable_proxy_is_reported_without_its_credentials(run: Run) -> None:
    done = run(Server("http://files.example", "http://jane:s3cret@127.0.0.1:9"))
    assert done.returncode == 1
    assert "could not be fetched from http://files.example/" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr


def test_a_server_without_proxy_is_reached_despite_the_host_s_environment(
    folders: Path, etcd: Artifact, site: WebServer, run: Run
) -> None:
    done = run(Server(site.url, DIRECT), http_proxy="http://127.0.0.1:9")
    assert done.returncode == 0, done.stdout + done.stderr
    assert is_installed(folders, etcd)


def test_the_set_authority_of_a_server_is_trusted_and_no_other(
    folders: Path, etcd: Artifact, site: WebServer, run: Run, left: Callable[[], list[str]]
) -> None:
    certificate, key = folders / "server.crt", folders / "server.key"
    subject = ("-subj", "/CN=files", "-addext", "subjectAltName=IP:127.0.0.1")
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject)
    subprocess.run(made, check=True, capture_output=True)
    with serving(site.root, (certificate, key)) as behind_tls:
        refused = run(Server(behind_tls.url))
        assert refused.returncode == 1
        assert "certificate" in refused.stdout
        done = run(Server(behind_tls.url, authority=certificate.read_text()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert is_installed(folders, etcd)
    assert left() == []


@pytest.mark.parametrize("room", [1000, len(PACKED) + 1])
def test_a_full_disk_is_reported_and_no_partial_file_is_left(
    folders: Path, run: Run, left: Callable[[], list[str]], room: int
) -> None:
    done = run(None, "sh", "-c", f"trap '' XFSZ; exec prlimit --fsize={room} \"$@\"", "-")
    assert done.returncode == 1
    assert done.stdout.startswith(f"minion1: {folders}/incoming/etcd")
    assert "could not be written; make room there" in done.stdout
    assert left() == []


@pytest.mark.usefixtures("zstd")
def test_a_disk_without_room_for_what_zstd_packed_keeps_no_partial_file(
    run: Run, etcd: Artifact, left: Callable[[], list[str]]
) -> None:
    room = etcd.packed(ZSTD).file.stat().st_size + 1
    done = run(None, "sh", "-c", f"trap '' XFSZ; exec prlimit --fsize={room} \"$@\"", "-", packing=ZSTD)
    assert done.returncode == 1
    assert "etcd could not be written; make room there" in done.stdout
    assert left() == []


def test_partial_files_of_other_versions_are_deleted(run: Run, folders: Path, left: Callable[[], list[str]]) -> None:
    (folders / "incoming" / f"{'0' * 64}.part").write_bytes(b"of an older version")
    assert run().returncode == 0
    assert left() == []


def test_a_look_finds_the_program_that_a_host_fetches_with(tool: str) -> None:
    look = subprocess.run(["sh", "-c", preflight.script(None, ())], capture_output=True, text=True, check=False).stdout
    assert f"command {tool}" in look.splitlines()
