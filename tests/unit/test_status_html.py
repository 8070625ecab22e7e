"""The page of a cluster's status: its content, complete in one file."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kubekeel.status import Certificate, NodeStatus, Space, Status, disks, memory
from kubekeel.status_page import page, write
from tests.status_example import GIB, WHEN, node, status, unhealthy

VOID = {"meta", "rect", "br", "hr", "img", "input", "link"}
LOADED_BY = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href", "cite", "ping"}


class Read(HTMLParser):
    """A page's text (all of it, and by ID of the element), tags, attributes, and faults of nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.by_id = "", dict[str, str]()
        self.attributes, self.tags, self.faults = list[tuple[str, str | None]](), set[str](), list[str]()
        self._open = list[tuple[str, str | None]]()
        self.feed(text)
        self.close()
        self.faults += [f"{tag} stays open" for tag, _ in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop()[0] != tag:
            self.faults.append(f"{tag} closes another element")

    def handle_data(self, data: str) -> None:
        shown = " ".join(data.split())
        if shown and not any(tag == "style" for tag, _ in self._open):
            self.text += f"{shown} "
            for name in filter(None, (name for _, name in self._open)):
                self.by_id[name] = f"{self.by_id.get(name, '')}{shown} "


def read(of: Status) -> Read:
    return Read(page(of, WHEN).decode())


def test_a_page_is_complete_in_one_file_and_loads_nothing() -> None:
    text = page(unhealthy(), WHEN).decode()
    found = Read(text)
    assert found.faults == []
    assert not found.tags & {"script", "link", "img", "iframe", "object", "embed", "a", "form", "base"}
    assert not LOADED_BY & {name for name, _ in found.attributes}
    assert not any(name.startswith("on") for name, _ in found.attributes)
    assert not re.search(r"https?://|url\(|@import|//[a-z]", text)
    assert "default-src 'none'" in text
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text


def test_a_page_has_all_problems_and_notes_of_the_terminal() -> None:
    of = unhealthy()
    found = read(of)
    for line in of.problems():
        assert " ".join(line.split()) in found.by_id["problems"]
    for line in of.notes():
        assert " ".join(line.split()) in found.by_id["notes"]
    assert found.text.startswith("production: not healthy production not healthy Kubernetes v1.37.2, 5 nodes, seen")
    assert "2030-05-17 09:30 UTC" in found.text


def test_the_page_of_a_healthy_cluster_has_no_problems_and_no_notes() -> None:
    found = read(replace(status(node("m", 1, "masters")), generations={}))
    assert "m: healthy" not in found.text
    assert "production healthy" in found.text
    assert not {"problems", "notes"} & found.by_id.keys()
    assert "not healthy" not in found.text


def test_nodes_with_problems_come_first_then_those_with_notes() -> None:
    nodes = [name.removeprefix("node-") for name in read(unhealthy()).by_id if name.startswith("node-")]
    assert nodes == ["minion4", "minion1", "minion3", "master1", "minion2"]


def test_a_node_with_a_full_disk_is_not_shown_as_well() -> None:
    full = status(node("m", 1, "masters", disks=(Space("/", 100, 5),)), node("n", 2, "minions"))
    found = read(full).by_id
    assert found["node-m"].startswith("m 192.0.2.1 attention")
    assert found["node-n"].startswith("n 192.0.2.2 well")


def test_a_node_shows_its_roles_its_space_and_its_faults() -> None:
    found = read(unhealthy()).by_id
    assert found["node-minion1"].startswith("minion1 192.0.2.2 problem etcd minions ✗ kube-proxy: not active")
    for shown in ("disk / 93 % of 60.0 GiB, 4.0 GiB free", "disk /var/lib/etcd 50 %", "memory 38 % of 8.0 GiB"):
        assert shown in found["node-minion1"]
    assert "newest snapshot 3.0 h ago of 24 h" in found["node-minion1"]
    assert "etcd leads, 31.0 MiB" in found["node-master1"]
    assert "unreachable: no SSH connection" in found["node-minion4"]
    assert "expires first: kubernetes/kubelet-client 12 days" in found["node-minion3"]


def test_the_length_of_a_bar_is_its_value() -> None:
    text = page(status(node("m", 1, "masters", disks=(Space("/", 100, 30),), memory=None)), WHEN).decode()
    bar = re.search(
        r'aria-label="disk /: 70 % of 100 B, 30 B free">\s*<rect class="whole"[^>]*/><rect[^>]*width="(\d+)"', text
    )
    assert bar
    assert bar[1] == "70"


@pytest.mark.parametrize(
    ("changes", "tone"),
    [
        ({"disks": (Space("/", 100, 16),)}, "good"),
        ({"disks": (Space("/", 100, 15),)}, "warn"),
        ({"disks": (Space("/", 100, 10),)}, "bad"),
        ({"snapshot_age": 25 * 3600.0}, "bad"),
        ({"snapshot_age": 60.0, "snapshot_failed": True}, "bad"),
        ({"snapshot_age": None}, "warn"),
        ({"certificates": (Certificate("/etc/kubernetes/pki/x.crt", 29),)}, "warn"),
        ({"certificates": (Certificate("/etc/kubernetes/pki/x.crt", -1),)}, "bad"),
        ({"certificates": (Certificate("/etc/kubernetes/pki/x.crt", None),)}, "bad"),
    ],
)
def test_low_space_old_snapshots_and_expiring_certificates_stand_out(changes: dict[str, object], tone: str) -> None:
    text = page(status(node("m", 1, "etcd", "masters", **changes)), WHEN).decode()
    bars = {
        each
        for block in re.findall(r'<ul class="bars">.*?</ul>', text, re.S)
        for each in re.findall(r'<li class="(\w+)"', block)
    }
    assert bars == {"good", tone}


def test_the_certificates_that_expire_first_come_first() -> None:
    soonest = read(unhealthy()).by_id["soonest"]
    assert soonest.startswith("minion3: kubernetes/kubelet-client 12 days control machine: admin 251 days")


def test_versions_are_listed_with_their_nodes() -> None:
    master = node("m", 1, "etcd", "masters")
    other = replace(master, name="n", components=(replace(master.components[0], version=None), *master.components[1:]))
    versions = read(status(master, other)).by_id["versions"]
    assert "etcd v3.7.3 m etcd other version n" in versions
    assert "containerd v2.4.2 m, n" in versions


def test_text_from_hosts_is_never_markup() -> None:
    shown = '<script src="https://example.org/x.js">"</script>'
    text = page(status(NodeStatus(shown, "192.0.2.1", unreachable=shown, roles=(shown,))), WHEN).decode()
    assert "<script" not in text
    assert Read(text).faults == []
    assert shown in Read(text).text


def test_a_page_replaces_the_one_before_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "status.html"
    path.write_text("before")
    (tmp_path / "status.html.new").write_text("of a run that was interrupted")
    write(path, b"after")
    assert path.read_bytes() == b"after"
    assert [each.name for each in tmp_path.iterdir()] == ["status.html"]
    with pytest.raises(OSError, match="No such file"):
        write(tmp_path / "missing/status.html", b"")


def test_space_is_read_from_the_output_of_a_host() -> None:
    assert memory(["MemTotal: 8388608 kB", "MemAvailable: 4194304 kB"]) == Space("memory", 8 * GIB, 4 * GIB)
    assert memory([]) is None
    assert disks(["  1024   512 /", "2048 0 /var/lib/my data", "1024 512 /"]) == (
        Space("/", 2**20, 2**19),
        Space("/var/lib/my data", 2**21, 0),
    )
    assert Space("x", 0, 0).used_percent == 0
