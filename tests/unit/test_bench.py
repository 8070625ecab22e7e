"""The benchmark's evaluation: splits, results, the page and its plot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import plot, profile, report
from bench.first import First, Sending, Sent, Unpacking
from bench.footprint import Footprint
from bench.kubeadm import Times
from bench.pull import Pull
from bench.record import HostCost, Record, Span, Step
from bench.results import Results
from bench.rounds import Rounds, nothing_to_do
from bench.scale import Cost, Scale, Size
from bench.upgrade import Away

STEP = Step(
    "binaries",
    begin=2.0,
    end=9.0,
    spans=(Span("a", "transfer", 2.5, 4.0), Span("b", "transfer", 2.5, 6.5), Span("b", "configuration", 6.5, 8.5)),
)
RECORD = Record(10.0, 3.0, 1000, {"a": HostCost(9, 0, 1, 5, 6), "b": HostCost(10, 1, 2, 7, 8)}, [STEP])


def test_a_step_is_split_by_its_slowest_host() -> None:
    assert STEP.split() == {"checking": 1.0, "transfer": 4.0, "configuration": 2.0, "waiting": 0.0}


def test_the_split_of_a_run_covers_all_of_it() -> None:
    assert RECORD.split() == {"checking": 4.0, "transfer": 4.0, "configuration": 2.0, "waiting": 0.0}
    assert RECORD.changes == 3
    assert RECORD.most_commands == 10
    assert RECORD.most_sent == 7


def test_operations_of_one_name_count_together() -> None:
    again = replace(RECORD, steps=[STEP, replace(STEP, name="etcd", end=12.0), STEP])
    assert again.longest(1) == {"binaries": 14.0}


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    RECORD.write(tmp_path / "record.json")
    assert Record.read(tmp_path / "record.json") == RECORD


def size(hosts: int, nothing: float, adding: float) -> Size:
    cost = Cost(
        nothing, control_cpu=nothing / 2, machines_cpu=1.0, commands=3, changes=0, sent=90_000, memory=100_000_000
    )
    return Size(hosts, cost, cost, nothing / 2, cost, [adding, adding + 9, adding])


PROFILE = [
    "main (/opt/venv/lib/python3.11/site-packages/pyinfra_cli/main.py);encode (json/encoder.py:183) 1",
    "main (/opt/venv/lib/python3.11/site-packages/pyinfra_cli/main.py);see (operations/look.py:32) 6",
    "send (/opt/venv/lib/python3.11/site-packages/paramiko/packet.py) 2",
    "main (/opt/venv/lib/python3.11/site-packages/pyinfra_cli/main.py);find (<frozen importlib._bootstrap>:566) 1",
    " 6",
]
SCALE = Scale(
    (size(3, 4.0, 3.0), size(10, 5.0, 3.1), size(30, 8.0, 3.2), size(100, 18.0, 3.3), size(300, 58.0, 3.4)),
    profile.read(100, PROFILE),
)


def results(seconds: float = 60.0) -> Results:
    return Results(
        measured="2026-01-01",
        computer="2 cores",
        first=First(
            seconds=seconds,
            split={"checking": 5.0, "transfer": 20.0, "configuration": 5.0, "waiting": 30.0},
            longest={"etcd | start etcd": 9.0},
            ready=0.5,
            machines_cpu=70.0,
            sending=Sending(plain=5.0, checked=6.0, scp=4.5),
            unpacking={"gzip": Unpacking(700_000_000, 9.0), "zstd": Unpacking(560_000_000, 3.0)},
            sent={"master": Sent(200_000_000, 199_000_000, 20_000)},
            again_seconds=4.0,
            again_cpu=1.0,
            again_changes=0,
            again_commands=3,
            bare_seconds=2.0,
            memory=80_000_000,
            footprints={"master": [Footprint("etcd", 60_000_000, 0.5)]},
        ),
        kubeadm=Times(20.0, 30.0, 40.0),
        scale=SCALE,
        pull=Pull(hosts=10, bytes=2_000_000_000, seconds=10.0, curl=9.5, checking=4.0, sent=200_000),
        upgrade=Away("v1.36.3", "v1.37.2", kubekeel=8.0, kubeadm=9.0),
    )


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results().write(tmp_path / "performance.json")
    assert Results.read(tmp_path / "performance.json") == results()
    assert Results.read(tmp_path / "none.json") == Results()


def met(measured: Results) -> dict[str, bool]:
    assert measured.first
    assert measured.kubeadm
    assert measured.scale
    assert measured.pull
    assert measured.upgrade
    found = report.targets(measured.first, measured.kubeadm, measured.scale, measured.pull, measured.upgrade)
    return {target.what: target.met for target in found}


@pytest.mark.parametrize(("seconds", "is_met"), [(39.5, True), (40.0, False)])
def test_a_first_deploy_gets_no_more_time_than_kubeadm(seconds: float, is_met: bool) -> None:
    assert met(results(seconds))["first deploy, until everything is available"] is is_met


@pytest.mark.parametrize(("seconds", "is_met"), [(4.0, True), (4.1, False)])
def test_a_run_with_nothing_to_do_gets_twice_the_time_of_a_bare_one(seconds: float, is_met: bool) -> None:
    measured = results()
    assert measured.first
    measured = replace(measured, first=replace(measured.first, again_seconds=seconds))
    assert met(measured)["nothing to do, 3 hosts: time"] is is_met


def test_larger_clusters_are_on_the_line_through_the_two_largest_sizes() -> None:
    assert SCALE.computed(1000, lambda size: size.nothing.seconds) == pytest.approx(58.0 + 700 * 0.2)


def test_a_profile_counts_a_function_without_its_callees() -> None:
    read = profile.read(100, PROFILE)
    assert read.samples == 10
    assert read.packages == {"Kubekeel": 0.6, "Python": 0.2, "paramiko": 0.2}
    assert list(read.functions)[:2] == ["see (operations/look.py)", "send (paramiko/packet.py)"]


def test_the_run_with_the_median_time_counts() -> None:
    records = iter([replace(RECORD, seconds=seconds) for seconds in (9.0, 1.0, 2.0)])
    bare = iter([3.0, 8.0, 1.0])
    rounds = nothing_to_do(lambda: next(records), lambda: next(bare), 3)
    assert rounds == Rounds(replace(RECORD, seconds=2.0), bare=3.0, changes=3)


def test_the_page_is_written_only_from_complete_results(tmp_path: Path) -> None:
    report.write(Results(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    report.write(results(), tmp_path)
    page = (tmp_path / "performance.md").read_text()
    assert "| first deploy, until everything is available | kubeadm's time with everything in place: 40.0 s |" in page
    assert "| 100 | 18.0 s | 9.0 s | 18.0 s | 9.0 s |" in page
    assert "| 1000, computed | 198.0 s |" in page
    assert "| `see (operations/look.py)` | 60.0 % |" in page
    assert "| gzip | 700.0 MB | 9.0 |\n| zstd | 560.0 MB | 3.0 |\n" in page


def test_a_plot_is_an_svg_with_all_its_bars() -> None:
    drawn = plot.draw({"ours": {"transfer": 3.0, "waiting": 4.0}}, {"nothing to do": {3: 1.0, 100: 9.0}})
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("svg")
    assert len([part for part in root.iter() if part.tag.endswith("rect")]) == 1 + 2 + 2
