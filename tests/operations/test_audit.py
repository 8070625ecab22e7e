"""The audit's table, as operators read it."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from kubekeel.cis import Evidence, judge
from operations.audit import summary, table
from tests.unit.evidence import CLUSTER, GOOD, with_configuration


def shown(evidence: Mapping[str, Evidence]) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table(judge(CLUSTER, evidence)))
    return capture.get()


def row(number: str, text: str) -> str:
    return next(line for line in text.splitlines() if f" {number} " in line)


def test_a_passed_control_is_shown_with_its_hosts() -> None:
    line = row("4.2.1", shown(dict.fromkeys("mew", GOOD)))
    assert "scored" in line
    assert "passed" in line
    assert "m, w" in line


def test_a_failed_control_is_shown_with_the_host_and_the_value_seen() -> None:
    text = shown({**dict.fromkeys("mew", GOOD), "w": with_configuration("kubelet", readOnlyPort=10255)})
    assert "failed" in row("4.2.4", text)
    assert "w: kubelet readOnlyPort must be 0 or unset (10255)" in row("4.2.4", text)


def test_open_and_manual_controls_are_shown_with_their_reasons() -> None:
    text = shown(dict.fromkeys("mew", GOOD))
    assert "by choice" in row("1.2.1", text)
    assert "the kubelet's probes use" in text
    assert "by hand" in row("5.3.1", text)
    assert "flannel does not" in row("5.3.1", text)


def test_the_summary_counts_passed_controls() -> None:
    assert summary(judge(CLUSTER, dict.fromkeys("mew", GOOD))) == "scored: 65 of 65 passed; all: 102 of 131"
    assert summary(judge(CLUSTER, {})) == "scored: 0 of 65 passed; all: 0 of 131"


def test_text_from_hosts_is_never_markup() -> None:
    text = shown({**dict.fromkeys("mew", GOOD), "w": with_configuration("kubelet", readOnlyPort="[/x] [red]")})
    assert "w: kubelet readOnlyPort must be 0 or unset ([/x] [red])" in row("4.2.4", text)
