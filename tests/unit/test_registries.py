"""Registries and proxies: containerd's files, who may read them, and refused settings."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from kubekeel import render
from kubekeel.cluster import Cluster, InventoryError, load
from kubekeel.files import File, Tree, watched
from kubekeel.parts import described, placeholder
from kubekeel.registries import MARK, proxies
from tests.clusters import GROUPS, HOSTS, faults
from tests.settings import SETTINGS

MIRROR = "mirror.example:5000"
REGISTRIES: dict[str, object] = {
    "docker.io": {"mirrors": [f"https://{MIRROR}", "http://192.0.2.9:5000", "https://harbor.example/v2/hub"]},
    MIRROR: {"ca": "ca.crt", "username": "kube", "password_file": "password"},
    "plain.example:80": {"plain_http": True},
    "*": {"mirrors": [f"https://{MIRROR}"]},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "password").write_text("s3cret pass\n")
    return tmp_path


def cluster(folder: Path, **settings: object) -> Cluster:
    return load(GROUPS, HOSTS, SETTINGS | settings, folder)


def tree(folder: Path, **settings: object) -> Tree:
    return render.own_registries(placeholder((of := cluster(folder, **settings)).node("a"), of))


def hosts(files: Tree, name: str) -> dict[str, Any]:
    entry = files[f"/etc/containerd/certs.d/{name}/hosts.toml"]
    assert isinstance(entry, File)
    assert entry.content.decode().splitlines()[0] == MARK
    return tomllib.loads(entry.content.decode())


def test_a_mirror_is_tried_first_with_its_own_settings(folder: Path) -> None:
    pulls = {"capabilities": ["pull", "resolve"]}
    signed_in = {"header": {"Authorization": "Basic a3ViZTpzM2NyZXQgcGFzcw=="}}
    trusted = {"ca": f"/etc/containerd/certs.d/{MIRROR}/kubekeel-ca.crt"}
    files = tree(folder, registries=REGISTRIES)
    assert hosts(files, "docker.io") == {
        "host": {
            f"https://{MIRROR}": {**pulls, **trusted, **signed_in},
            "http://192.0.2.9:5000": pulls,
            "https://harbor.example/v2/hub": {**pulls, "override_path": True},
        }
    }
    assert list(hosts(files, "docker.io")["host"]) == REGISTRIES["docker.io"]["mirrors"]  # type: ignore[index]
    assert hosts(files, MIRROR) == {**trusted, **signed_in}
    assert hosts(files, "plain.example:80") == {"server": "http://plain.example:80"}
    assert hosts(files, "_default") == {"host": {f"https://{MIRROR}": {**pulls, **trusted, **signed_in}}}
    assert hosts(tree(folder, registries={"other.example": {}}), "other.example") == {}


def test_only_root_reads_credentials_and_their_change_restarts_nothing(folder: Path) -> None:
    files = tree(folder, registries=REGISTRIES)
    assert {entry.mode for path, entry in files.items() if path.endswith("hosts.toml")} == {0o600}  # type: ignore[union-attr]
    assert not watched(files)
    all_else = described(placeholder((of := cluster(folder, registries=REGISTRIES)).node("a"), of)).items()
    assert [path for path, entry in all_else if isinstance(entry, File) and b"a3ViZTpz" in entry.content] == [
        path for path in files if path.endswith("hosts.toml") and "plain" not in path
    ]


def proxied(folder: Path, name: str = "a", **settings: object) -> Tree:
    return render.containerd(placeholder((of := cluster(folder, **settings)).node(name), of))


def test_containerd_uses_proxies_except_to_nodes_pods_and_services(folder: Path) -> None:
    files = proxied(folder, https_proxy="http://u:p%40@proxy.example:3128", no_proxy=".corp.example,192.168.0.0/16")
    entry = files["/etc/containerd/proxies.env"]
    assert isinstance(entry, File)
    assert entry.mode == 0o600
    variables = dict(line.split("=", 1) for line in entry.content.decode().splitlines())
    assert variables["HTTPS_PROXY"] == '"http://u:p%40@proxy.example:3128"'
    assert variables.keys() == {"HTTPS_PROXY", "NO_PROXY"}
    direct = set(variables["NO_PROXY"].strip('"').split(","))
    assert {"192.0.2.1", "192.0.2.2", "192.0.2.3", "10.244.0.0/16", "10.96.0.0/16"} <= direct
    assert {".svc", ".cluster.local", ".corp.example", "192.168.0.0/16", "127.0.0.0/8"} <= direct
    unit = files["/etc/systemd/system/containerd.service"]
    assert isinstance(unit, File)
    assert b"EnvironmentFile=/etc/containerd/proxies.env" in unit.content
    assert b"proxy.example" not in unit.content


def test_containerd_restarts_for_other_proxies_and_not_for_another_node(folder: Path) -> None:
    def unit(hosts: dict[str, dict[str, object]], **settings: object) -> object:
        of = load({**GROUPS, "minions": [*hosts]}, hosts, SETTINGS | settings, folder)
        return render.containerd(placeholder(of.node("a"), of))["/etc/systemd/system/containerd.service"]

    more = HOSTS | {"c": {"address": "192.0.2.4"}}
    assert unit(HOSTS, http_proxy="http://p") == unit(more, http_proxy="http://p")
    assert len({unit(HOSTS, http_proxy="http://p"), unit(HOSTS, http_proxy="http://q"), unit(HOSTS)}) == 3
    assert "/etc/containerd/proxies.env" not in watched(proxied(folder, http_proxy="http://p"))


def test_without_proxies_there_are_no_variables(folder: Path) -> None:
    assert proxies(cluster(folder, no_proxy=".example.org")) == {}


@pytest.mark.parametrize(
    ("setting", "value", "fault"),
    [
        ("registries", [], "registries: is not a dict ([]); write it like"),
        ("registries", {"https://x": {}}, "registries.https://x: is not a registry (''); write it like"),
        (
            "registries",
            {"x.example": {"mirror": []}},
            "registries.x.example.mirror: is unknown (not shown); the keys are",
        ),
        ("registries", {"x.example": {"mirrors": "y"}}, "registries.x.example.mirrors: is not a list (y); write it"),
        (
            "registries",
            {"x.example": {"mirrors": ["y"]}},
            "registries.x.example.mirrors: has an entry that is not the URL",
        ),
        (
            "registries",
            {"x.example": {"username": "u"}},
            "registries.x.example: has only one of username and password_file",
        ),
        ("registries", {"*": {"plain_http": True}}, "registries.*: has more than mirrors for every registry"),
        (
            "registries",
            {"x.example": {"ca": "c", "plain_http": True}},
            "registries.x.example: has both ca and",
        ),
        (
            "registries",
            {"x.example": {"ca": "/no"}},
            "registries.x.example.ca: names a file that cannot be read: No such",
        ),
        ("http_proxy", "proxy:3128", "http_proxy: is not the URL of a proxy (proxy:3128); write it like"),
        ("no_proxy", ["a"], "no_proxy: is not a list of names and networks (['a']); write it like"),
        ("images", "a.tar", "images: is not a list (a.tar); write it like"),
        ("images", ["/no/*.tar"], "images: matches no file (/no/*.tar); correct it; paths start at "),
        ("images", [{"file": "x"}], "images[0].file: is unknown (x); the keys are files, pinned"),
    ],
)
def test_wrong_settings_are_refused_with_their_field(setting: str, value: object, fault: str) -> None:
    found = faults(**{setting: value})
    assert found[0].startswith(fault)


def test_no_refusal_shows_a_password() -> None:
    (found,) = faults(https_proxy="ftp://user:hunter2@proxy.example")
    assert "hunter2" not in found
    (found,) = faults(registries={"x.example": {"mirrors": ["https://user:hunter2@mirror.example"]}})
    assert "hunter2" not in found
    (found,) = faults(registries={"x.example": {"password": "hunter2"}})
    assert "hunter2" not in found


def test_files_without_a_certificate_or_one_password_are_refused(folder: Path) -> None:
    (folder / "two").write_text("a\nb\n")
    entries = {"x.example": {"ca": "password", "username": "u", "password_file": "two"}}
    with pytest.raises(InventoryError) as refused:
        cluster(folder, registries=entries)
    assert refused.value.faults == (
        "registries.x.example.ca: names a file that has no certificate (password); give one in PEM",
        "registries.x.example.password_file: names a file that does not have one line (two); write only the password"
        " into it",
    )
