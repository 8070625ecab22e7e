"""The web server that hosts fetch from, the proxy to it, and the files that it serves."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from kubekeel import preflight
from kubekeel.artifacts import GZIP, ZSTD, Artifact, Image, Packed
from kubekeel.cluster import InventoryError, load
from kubekeel.delivery import DIRECT, ENVIRONMENT, Server, place, publish, server
from kubekeel.preflight import COMMANDS
from tests import hosts
from tests.clusters import GROUPS, HOSTS, cluster, faults
from tests.settings import SETTINGS

URL = "https://files.example.org/kubekeel"
PULL = {"artifact_delivery": "pull", "artifact_server": URL}


def test_artifacts_are_sent_unless_delivery_is_pull() -> None:
    assert server(cluster()) is None
    assert server(cluster(artifact_server=URL)) is None
    assert server(cluster(**PULL)) == Server(URL)
    assert server(cluster(**PULL | {"artifact_server": f"{URL}/"})) == Server(URL)


@pytest.mark.parametrize(
    ("url", "settings", "proxy"),
    [
        (URL, {}, ENVIRONMENT),
        (URL, {"no_proxy": "files.example.org"}, ENVIRONMENT),
        (URL, {"https_proxy": "http://p:3128"}, "http://p:3128"),
        (URL, {"http_proxy": "http://p:3128"}, DIRECT),
        ("http://files.example.org", {"http_proxy": "http://p:3128", "https_proxy": "http://q"}, "http://p:3128"),
        (URL, {"https_proxy": "http://p:3128", "no_proxy": "other.example,files.example.org"}, DIRECT),
        (URL, {"https_proxy": "http://p:3128", "no_proxy": ".example.org"}, DIRECT),
        (URL, {"https_proxy": "http://p:3128", "no_proxy": "example.org"}, DIRECT),
        (URL, {"https_proxy": "http://p:3128", "no_proxy": "les.example.org,*.org"}, "http://p:3128"),
        (URL, {"https_proxy": "http://p:3128", "no_proxy": "*"}, DIRECT),
        ("https://192.168.7.9:8443/x", {"https_proxy": "http://p:3128", "no_proxy": "192.168.0.0/16"}, DIRECT),
        ("https://198.51.100.7/x", {"https_proxy": "http://p:3128", "no_proxy": "192.168.0.0/16"}, "http://p:3128"),
        ("http://192.0.2.1/on-a-node", {"http_proxy": "http://p:3128"}, DIRECT),
    ],
)
def test_the_proxy_follows_the_url_unless_no_proxy_excludes_it(
    url: str, settings: dict[str, object], proxy: str | None
) -> None:
    found = server(cluster(**{**PULL, "artifact_server": url, **settings}))
    assert found is not None
    assert found.proxy == proxy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"artifact_delivery": "torrent"}, "artifact_delivery: is unknown (torrent); take one of 'push', 'pull'"),
        ({"artifact_delivery": "pull"}, "artifact_server: names no web server (None); give the base URL"),
        ({"artifact_server": "/srv/files"}, "artifact_server: is not a base URL (/srv/files); write it like"),
        ({"artifact_server": "ftp://files"}, "artifact_server: is not a base URL (ftp://files); write it like"),
        ({"artifact_server": "https://[files"}, "artifact_server: is not a base URL (https://[files); write it like"),
        ({"artifact_server": f"{URL}?a=b"}, f"artifact_server: is not a base URL ({URL}?a=b); write it like"),
        ({"artifact_server": f"{URL}$(id) x"}, f"artifact_server: is not a base URL ({URL}$(id) x); write it like"),
        (
            PULL | {"artifact_server_ca": "ca.crt"},
            "artifact_server_ca: names a file that cannot be read: No such file or directory (ca.crt); correct it",
        ),
    ],
)
def test_a_wrong_artifact_server_is_refused(settings: dict[str, object], message: str) -> None:
    [fault] = faults(**settings)
    assert fault.startswith(message)


def test_credentials_in_the_url_are_refused_and_not_shown() -> None:
    [fault] = faults(**PULL | {"artifact_server": "https://jane:s3cret@files.example.org"})
    assert fault.startswith("artifact_server: has a user's name in it (not shown); write it like")
    assert "s3cret" not in fault


def test_an_authority_of_a_server_without_tls_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    plain = {"artifact_server": "http://files.example.org", "artifact_server_ca": "ca.crt"}
    with pytest.raises(InventoryError) as raised:
        load(GROUPS, HOSTS, {**SETTINGS, **PULL, **plain}, tmp_path)
    assert raised.value.faults == (
        "artifact_server_ca: has no effect without TLS (http://files.example.org); leave it out, or use https",
    )


def test_hosts_get_the_authority_of_the_server(tmp_path: Path) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    (tmp_path / "ca.crt").write_text(pem)
    found = server(load(GROUPS, HOSTS, {**SETTINGS, **PULL, "artifact_server_ca": "ca.crt"}, tmp_path))
    assert found == Server(URL, authority=pem)


@pytest.mark.parametrize("command", ["curl", "wget"])
def test_a_host_that_fetches_needs_curl_or_wget(command: str) -> None:
    pull, seen = hosts.cluster(**PULL), {name: hosts.fit(name) for name in hosts.ADDRESSES}
    able = {name: replace(host, commands=frozenset({*COMMANDS, "apt-get", command})) for name, host in seen.items()}
    assert preflight.faults(pull, able) == []
    assert preflight.faults(hosts.cluster(), seen) == []
    message = (
        "a: has nothing to fetch artifacts with (neither curl nor wget); "
        'install one of them, or set artifact_delivery = "push"'
    )
    assert preflight.faults(pull, able | {"a": seen["a"]}) == [message]


@pytest.fixture
def packed(tmp_path: Path) -> list[Packed]:
    """Return a binary packed by gzip, and an image packed by zstd."""
    binary, image = (tmp_path / sha256(content).hexdigest() for content in (b"a binary", b"an image"))
    binary.write_bytes(b"a binary")
    image.write_bytes(b"an image")
    return [
        Artifact("kubelet", "v1", "aa", Path("unpacked"), lambda _: binary).packed(GZIP),
        Image("pause", "pause:v1", "sha256:bb", Path("archive"), "cc", lambda _: image).packed(ZSTD),
    ]


def test_each_packed_file_is_published_once_under_its_sha256(packed: list[Packed], tmp_path: Path) -> None:
    folder = tmp_path / "served/below"
    assert publish(packed, folder) == 2
    binary, image = (folder / place(each) for each in packed)
    assert binary == folder / sha256(b"a binary").hexdigest() / "kubelet.gz"
    assert image == folder / sha256(b"an image").hexdigest() / "pause.tar.zst"
    assert binary.read_bytes() == b"a binary"
    assert image.stat().st_mode & 0o777 == 0o644
    assert image.parent.stat().st_mode & 0o777 == 0o755
    assert publish(packed, folder) == 0
    assert len([file for file in folder.rglob("*") if file.is_file()]) == 2


def test_a_failed_publication_leaves_no_partial_file(packed: list[Packed], tmp_path: Path) -> None:
    packed[0].file.unlink()
    with pytest.raises(OSError, match="No such file"):
        publish(packed, tmp_path / "served")
    assert [file for file in (tmp_path / "served").rglob("*") if file.is_file()] == []


def test_a_damaged_published_file_is_replaced(packed: list[Packed], tmp_path: Path) -> None:
    folder = tmp_path / "served"
    publish(packed, folder)
    (folder / place(packed[0])).write_bytes(b"half a bin")
    assert publish(packed, folder) == 1
    assert (folder / place(packed[0])).read_bytes() == b"a binary"
