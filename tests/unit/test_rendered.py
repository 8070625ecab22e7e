"""The files in tests/rendered match the templates, and pass the CIS benchmark."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from kubekeel.cis import CONTROLS, Evidence, hosts
from kubekeel.cis.described import evidence
from kubekeel.parts import described, placeholder
from tests.example import RENDERED, clusters, files, trees

AGAIN = "review the difference, then write them again: python -m tests.example"
# With `metrics`, controller manager and scheduler listen on the host's address.
OF_METRICS = ("1.3.7", "1.4.2")
SCORED = [control for control in CONTROLS if control.scored and control.scope != "cluster"]


def test_tests_rendered_has_the_files_of_every_host_and_no_others() -> None:
    there = {str(path.relative_to(RENDERED)) for path in RENDERED.rglob("*") if path.is_file()}
    assert there == files().keys(), AGAIN


@pytest.mark.parametrize("name", files())
def test_a_rendered_file_equals_the_one_in_tests_rendered(name: str) -> None:
    assert (RENDERED / name).read_text() == files()[name], AGAIN


@pytest.mark.parametrize("control", SCORED, ids=lambda control: control.id)
def test_the_files_of_every_host_pass_the_scored_control(control: Any) -> None:
    names = [name for cluster in clusters() for name in hosts(control.scope, cluster)]
    assert names
    faults = {name for name in names if control.check(evidence_of(name))}
    assert faults == ({"optional"} if control.id in OF_METRICS else set())


@cache
def evidence_of(host: str) -> Evidence:
    return evidence(trees()[host])


def test_the_files_of_a_master_that_takes_no_pods_pass_every_scored_control() -> None:
    cluster = replace(clusters()[0], register_masters=False)
    (master,) = (node for node in cluster.nodes if "masters" in node.roles)
    seen = evidence(described(placeholder(master, cluster)))
    checked = [control for control in SCORED if master.name in hosts(control.scope, cluster)]
    assert {control.id: fault for control in checked if (fault := control.check(seen))} == {}
