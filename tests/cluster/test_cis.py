"""The CIS Kubernetes Benchmark on the running cluster: a test for each control on each host in its scope."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace

import pytest

from kubekeel.cis import COLLECT, CONTROLS, Control, Evidence, hosts, judge
from lab.shape import PROJECT
from tests.lab_cluster import INVENTORY, the_cluster

CLUSTER = the_cluster()

# Known exceptions; docs/security.md says why.
EXCEPTIONS = {"1.2.1", "1.2.11", "5.1.1", "5.1.5", "5.2.5"}

CHECKED = [(control, host) for control in CONTROLS if control.check for host in hosts(control.scope, CLUSTER)]
SCORED = [(control, host) for control, host in CHECKED if control.scored]
UNSCORED = [(control, host) for control, host in CHECKED if not control.scored]


def ids_of(rows: list[tuple[Control, str]]) -> list[str]:
    return [f"{control.id}-{host}" for control, host in rows]


@pytest.fixture(scope="module")
def seen(on) -> Mapping[str, Evidence]:
    """Return the evidence of every host by name, without the objects of other tests."""
    return {
        node.name: without_tests(Evidence.read(on(node).run(COLLECT).stdout.splitlines())) for node in CLUSTER.nodes
    }


def without_tests(evidence: Evidence) -> Evidence:
    rows = {kind: tuple(row for row in rows if not row[0].startswith("test-")) for kind, rows in evidence.rows.items()}
    return replace(evidence, rows=rows)


@pytest.mark.parametrize(("control", "host"), SCORED, ids=ids_of(SCORED))
def test_a_scored_control_passes(seen, control, host) -> None:
    if fault := control.check(seen[host]):
        pytest.fail(f"{control.text}: {fault}", pytrace=False)


@pytest.mark.parametrize(("control", "host"), UNSCORED, ids=ids_of(UNSCORED))
def test_an_unscored_control_passes_unless_it_is_a_known_exception(seen, control, host) -> None:
    fault = control.check(seen[host])
    if (fault != "") != (control.id in EXCEPTIONS):
        pytest.fail(f"{control.text}: {fault or 'passes, but is listed as open'}", pytrace=False)


def test_all_65_scored_controls_and_at_least_90_of_131_pass(seen) -> None:
    passed = [result.control for result in judge(CLUSTER, seen) if result.state == "passed"]
    assert sum(control.scored for control in passed) == 65
    assert len(passed) >= 90


def test_the_audit_succeeds_and_lists_every_control() -> None:
    done = subprocess.run(
        ["pyinfra", "-y", str(INVENTORY), "actions/audit.py"],
        cwd=PROJECT, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "scored: 65 of 65 passed" in done.stdout
    for control in CONTROLS:
        assert f" {control.id} " in done.stdout


def test_a_kubelet_runs_with_the_settings_of_its_file(kubectl, seen, node) -> None:
    live = json.loads(kubectl("get", "--raw", f"/api/v1/nodes/{node.name}/proxy/configz"))["kubeletconfig"]
    written = seen[node.name].configuration("kubelet")
    for key in (
        *("authentication", "authorization", "tlsCertFile", "tlsPrivateKeyFile", "tlsMinVersion", "tlsCipherSuites"),
        *("protectKernelDefaults", "makeIPTablesUtilChains", "seccompDefault", "podPidsLimit", "eventRecordQPS"),
    ):
        assert part_of(written[key], live[key]), key
    assert live.get("readOnlyPort", 0) == 0


def part_of(written: object, live: object) -> bool:
    if isinstance(written, dict) and isinstance(live, dict):
        return all(part_of(value, live.get(key)) for key, value in written.items())
    return written == live
