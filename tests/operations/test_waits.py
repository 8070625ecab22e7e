"""Waits are shown while they last: as lines now and then, or in place on a terminal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from pyinfra.api import StringCommand

from operations import wait
from run import waits
from run.waits import in_place, show_wait


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
