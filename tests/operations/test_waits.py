"""Waits are shown while they last: as lines now and then, or in place on a terminal."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from pyinfra.api import StringCommand

from kubekeel.artifacts import Image
from operations import drill, snapshots, store, wait
from run import stream, waits
from run.waits import in_place, show_wait
from tests.operations.commands import Host


def waiter(name: str = "master") -> Any:
    return SimpleNamespace(name=name, print_prefix=f"[{name}] ", connector_data={})


def test_a_long_wait_is_reported_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[str] = []
    monkeypatch.setattr(wait, "host", waiter())
    monkeypatch.setattr(waits, "logger", SimpleNamespace(info=reports.append))
    monkeypatch.setattr(waits, "_REPORT_SECONDS", 0)
    waiting = wait.reported("kubelet", StringCommand("true"))
    assert [next(waiting).get_raw_value()] == ["true"]
    for _ in range(3):
        gevent.sleep(0)
    assert reports
    assert set(reports) == {"[master] has waited 0 s for kubelet"}
    assert not list(waiting)
    gevent.sleep(0)
    before = len(reports)
    for _ in range(3):
        gevent.sleep(0)
    assert len(reports) == before


def waits_of(host: Any) -> list[str]:
    """Return what this host waits for now."""
    return [what for what, _ in host.connector_data.values()]


def test_a_copy_to_or_from_a_host_is_shown_while_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def ask(host: Any, *_: object, **__: object) -> tuple[bool, Any]:
        seen.extend(waits_of(host))
        return True, SimpleNamespace(stdout_lines=[])

    monkeypatch.setattr(stream, "ask", ask)
    stream.fetch(waiter(), "/var/lib/etcd-snapshots/x", tmp_path / "x")
    stream.send(waiter(), [], "/var/lib/etcd/y")
    assert seen == ["/var/lib/etcd-snapshots/x to be copied here", "/var/lib/etcd/y to be copied there"]


@pytest.mark.parametrize(
    ("module", "call", "what"),
    [
        (snapshots, lambda host: snapshots._run(host, "true"), "its snapshot of etcd"),
        (drill, lambda host: drill._trial(host, "/x"), "the trial restore"),
    ],
)
def test_the_longest_steps_of_a_backup_are_shown(
    monkeypatch: pytest.MonkeyPatch, module: Any, call: Any, what: str
) -> None:
    seen: list[str] = []

    def ask(host: Any, *_: object, **__: object) -> tuple[bool, Any]:
        seen.extend(waits_of(host))
        return True, SimpleNamespace(stdout_lines=[])

    monkeypatch.setattr(module, "ask", ask)
    call(waiter())
    assert seen == [what]


def test_the_import_of_an_image_is_shown_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image("pause", "pause:1", "sha256:1", Path("1"), "1", lambda _: Path("1"))
    host = Host({store.Imported: {}})
    monkeypatch.setattr(store, "host", host)
    monkeypatch.setattr(wait, "host", host)
    monkeypatch.setattr(store, "differs", lambda *_: None)
    assert [waits_of(host) for _ in store.import_images._inner([image])] == [["the image pause"]]


def test_each_waiting_host_has_a_line_and_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [waiter("a"), waiter("b"), waiter("c")]
    monkeypatch.setattr(waits, "state", SimpleNamespace(inventory=hosts))
    with show_wait(hosts[0], "kubelet"), show_wait(hosts[2], "etcd"):
        shown = waits.shown(now=float("inf"))
        assert [line.replace("inf", "N") for line in shown] == [
            "    [a] has waited N s for kubelet",
            "    [c] has waited N s for etcd",
        ]
    assert waits.shown(now=0) == []


def test_of_very_many_waiting_hosts_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [waiter(str(number)) for number in range(100)]
    for host in hosts:
        host.connector_data = {"kubekeel_wait": ("kubelet", 0)}
    monkeypatch.setattr(waits, "state", SimpleNamespace(inventory=hosts))
    shown = waits.shown(now=40)
    assert (len(shown), shown[0], shown[-1]) == (11, "    [0] has waited 40 s for kubelet", "    and 90 more")


def test_lines_in_place_are_cut_to_the_terminal_and_end_where_they_began() -> None:
    assert in_place(["one"], 80) == "one\033[K\r"
    assert in_place(["one", "two", "three"], 4) == "one\033[K\ntwo\033[K\nthr\033[K\r\033[2A"
