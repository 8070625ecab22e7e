"""The benchmark's evaluation: splits, results, the page and its plot."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import plot, report
from bench.first import First, Sending, Sent
from bench.footprint import Footprint
from bench.kubeadm import Times
from bench.record import HostCost, Record, Span, Step
from bench.results import Results
from bench.scale import Cost, Size

STEP = Step(
    "binaries",
    begin=2.0,
    end=9.0,
    spans=(Span("a", "transfer", 2.5, 4.0), Span("b", "transfer", 2.5, 6.5), Span("b", "configuration", 6.5, 8.5)),
)
RECORD = Record(10.0, 1000, {"a": HostCost(9, 0, 1, 5, 6), "b": HostCost(10, 1, 2, 7, 8)}, [STEP])


def test_a_step_is_split_by_its_slowest_host() -> None:
    assert STEP.split() == {"checking": 1.0, "transfer": 4.0, "configuration": 2.0, "waiting": 0.0}


def test_the_split_of_a_run_covers_all_of_it() -> None:
    assert RECORD.split() == {"checking": 4.0, "transfer": 4.0, "configuration": 2.0, "waiting": 0.0}
    assert RECORD.changes == 3


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    RECORD.write(tmp_path / "record.json")
    assert Record.read(tmp_path / "record.json") == RECORD


def size(hosts: int, nothing: float, adding: float) -> Size:
    cost = Cost(nothing, machines_cpu=1.0, commands=11, changes=0, memory=100_000_000)
    return Size(hosts, cost, cost, cost, [adding, adding + 9, adding])


def results(seconds: float = 60.0) -> Results:
    return Results(
        measured="2026-01-01",
        computer="2 cores",
        first=First(
            seconds=seconds,
            split={"checking": 5.0, "transfer": 20.0, "configuration": 5.0, "waiting": 30.0},
            ready=0.5,
            machines_cpu=70.0,
            sending=Sending(plain=5.0, checked=6.0, scp=4.5, unpacked=9.0),
            sent={"master": Sent(200_000_000, 199_000_000, 20_000)},
            again_seconds=4.0,
            again_changes=0,
            again_commands=11,
            memory=80_000_000,
            footprints={"master": [Footprint("etcd", 60_000_000, 0.5)]},
        ),
        kubeadm=Times(20.0, 30.0, 40.0),
        scale=(size(3, 4.0, 3.0), size(10, 5.0, 3.1), size(30, 8.0, 3.2), size(100, 18.0, 3.3)),
    )


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results().write(tmp_path / "performance.json")
    assert Results.read(tmp_path / "performance.json") == results()
    assert Results.read(tmp_path / "none.json") == Results()


@pytest.mark.parametrize(("seconds", "met"), [(69.0, True), (70.0, False)])
def test_a_first_deploy_is_compared_with_kubeadm_and_the_transfer(seconds: float, met: bool) -> None:
    measured = results(seconds)
    assert measured.first
    assert measured.kubeadm
    first, *_ = report.targets(measured.first, measured.kubeadm, measured.scale)
    assert first.met is met


def test_the_page_is_written_only_from_complete_results(tmp_path: Path) -> None:
    report.write(Results(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    report.write(results(), tmp_path)
    page = (tmp_path / "performance.md").read_text()
    assert "| first deploy, until everything is available | 1.25 times kubeadm's 40 s and the transfer: 70 s |" in page
    assert "| 100 | 18.0 s | 18.0 s | 0.18 s |" in page


def test_a_plot_is_an_svg_with_all_its_bars() -> None:
    drawn = plot.draw({"ours": {"transfer": 3.0, "waiting": 4.0}}, {"nothing to do": {3: 1.0, 100: 9.0}})
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("svg")
    assert len([part for part in root.iter() if part.tag.endswith("rect")]) == 1 + 2 + 2
