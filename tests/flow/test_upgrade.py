"""A deploy where other versions run than desired: its refusals, and its order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kubekeel.needs import STATIC_PODS
from kubekeel.status import UNITS
from tests.flow.fake import CONFIG, PROJECT, deploy

MASTER, MINION = (*STATIC_PODS, "kubelet", "containerd"), ("kubelet", "containerd")


def runs(version: str, components: tuple[str, ...]) -> str:
    versions = {"containerd": "v2.4.2"}
    return "\n".join(f"runs {component} {versions.get(component, version)}" for component in components)


HOSTS = """
_units = {{"ExecMainStartTimestamp": {units!r}}}
etcd = masters = [_host("m", 1, {master!r}, says=_units)]
minions = [_host("a", 2, {minion!r}, fails={fails!r}, says=_units), _host("b", 3, {minion!r}, says=_units)]
"""
ACTIVE = "\n".join(f"unit\t{unit}\tActiveState=active" for unit in sorted(UNITS))


def hosts(version: str, fails: str = "") -> str:
    return HOSTS.format(master=runs(version, MASTER), minion=runs(version, MINION), units=ACTIVE, fails=fails)


def outcomes(output: str) -> list[tuple[str, str, str]]:
    """Return each operation with each host and its outcome, in order."""
    found, operation = [], ""
    for line in output.splitlines():
        if started := re.search(r"Starting (?:serial )?operation: (.+)", line):
            operation = started[1].strip()
        elif ended := re.search(r"\[@fake/(\w+)\] +(Success|Error)", line):
            found.append((operation, ended[1], ended[2]))
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "deploy.py").write_text((PROJECT / "deploy.py").read_text())
    (tmp_path / "config.py").write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize(
    ("version", "arguments", "fault"),
    [
        ("v1.38.0", (), "kubernetes_version: goes back a minor version, which would destroy its data"),
        ("v1.37.9", (), "kubernetes_version: goes back a patch release"),
        ("v1.35.4", (), "kubernetes_version: skips a minor version"),
        ("v1.36.3", ("--limit", "minions"), "m: not in this run, but needed for an upgrade"),
    ],
)
def test_an_upgrade_that_would_break_the_cluster_changes_nothing(
    home: Path, version: str, arguments: tuple[str, ...], fault: str
) -> None:
    done = deploy(home, hosts(version), "--data", "artifact_source=source", *arguments)
    assert done.returncode == 1
    assert fault in done.stderr
    assert "nothing was changed; faults found: 1" in done.stderr
    assert re.findall(r"Starting (?:serial )?operation", done.stderr) == []


def test_an_upgrade_shows_its_plan_then_changes_the_control_plane_then_nodes(home: Path) -> None:
    done = deploy(home, hosts("v1.36.3"), "--data", "artifact_source=source")
    assert done.returncode == 0, done.stderr
    plan = done.stderr.index("upgrade of Kubernetes v1.36.3 to v1.37.2:")
    assert plan < done.stderr.index("Starting operation")
    nodes = "nodes: kubelet, containerd and kube-proxy, v1.36.3 to v1.37.2, one by one: a, b, m; drained first: a, b, m"
    assert nodes in done.stderr
    steps = [(operation, host) for operation, host, _ in outcomes(done.stderr)]
    order = [
        *(("node | install binaries", host) for host in ("m", "a", "b")),
        *(("containerd | import images", host) for host in ("m", "a", "b")),
        ("control plane | restart API servers one by one", "m"),
        ("control plane | update controller managers and schedulers", "m"),
        ("nodes | restart minions in batches", "a"),
        ("nodes | restart minions in batches", "b"),
        ("nodes | restart masters one by one", "m"),
    ]
    assert [step for step in steps if step in order[6:]] == order[6:]
    assert max(map(steps.index, order[:6])) < steps.index(order[6])
    drained = re.findall(r"\[@fake/(\w+)\] is being drained", done.stderr)
    assert drained == ["a", "b", "m"]


def test_a_dry_run_shows_the_plan_and_changes_nothing(home: Path) -> None:
    done = deploy(home, hosts("v1.36.3"), "--data", "artifact_source=source", "--dry", yes=False)
    assert done.returncode == 0, done.stderr
    assert "upgrade of Kubernetes v1.36.3 to v1.37.2:" in done.stderr
    assert "drained first: a, b, m" in done.stderr
    assert "min from step 2 on" in done.stderr
    assert outcomes(done.stderr) == []


def test_a_run_names_a_component_that_changes_alone(home: Path) -> None:
    inventory = hosts("v1.37.2").replace("runs containerd", "link flanneld ../store/old/flanneld\\nruns containerd")
    done = deploy(home, inventory, "--data", "artifact_source=source", "--dry", yes=False)
    assert done.returncode == 0, done.stderr
    assert "upgrade of components:" in done.stderr
    assert re.search(r"2\. flannel v[0-9.]+: m, a, b; flanneld restarts, node by node", done.stderr)
    assert "upgrade of Kubernetes" not in done.stderr


def test_no_minion_is_upgraded_after_a_batch_with_one_that_failed(home: Path) -> None:
    fails = '_host("b", 3, {minion!r}, fails="--no-block kubelet", says=_units), _host("c", 4, {minion!r}, says=_units)'
    three = HOSTS.replace('_host("b", 3, {minion!r}, says=_units)', fails)
    inventory = three.format(master=runs("v1.36.3", MASTER), minion=runs("v1.36.3", MINION), units=ACTIVE, fails="")
    done = deploy(home, inventory, "--data", "artifact_source=source", "--data", "upgrade_batch=2")
    assert done.returncode == 1
    assert "minions 2 at once, masters one by one: a, b, c, m; drained first: a, b, c, m" in done.stderr
    turns = {
        (host, outcome) for operation, host, outcome in outcomes(done.stderr) if operation.startswith("nodes | restart")
    }
    assert turns == {("a", "Success"), ("b", "Error"), ("c", "Error")}
    assert "c: the run did not change this host, because @fake/b failed" in done.stderr
    assert sorted(re.findall(r"\[@fake/(\w+)\] is being drained", done.stderr)) == ["a", "b"]


def test_no_node_is_upgraded_after_one_that_failed(home: Path) -> None:
    done = deploy(home, hosts("v1.36.3", fails="--no-block kubelet"), "--data", "artifact_source=source")
    assert done.returncode == 1
    turns = [
        (host, outcome) for operation, host, outcome in outcomes(done.stderr) if operation.startswith("nodes | restart")
    ]
    assert turns == [("a", "Error"), ("b", "Error")]
    assert "b: the run did not change this host, because @fake/a failed" in done.stderr
    assert re.findall(r"\[@fake/(\w+)\] is being drained", done.stderr) == ["a"]


def test_a_master_outside_of_the_run_drains_a_node(home: Path) -> None:
    inventory = hosts("v1.37.2").replace("v2.4.2", "v2.4.1")
    options = ("--data", "artifact_source=source", "--data", "drain=always", "--limit", "@fake/a")
    done = deploy(home, inventory, *options)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"\[@fake/(\w+)\] is being drained", done.stderr) == ["a"]
    assert "kube-proxy" not in "".join(operation for operation, _, _ in outcomes(done.stderr) if "wait" in operation)


def test_a_node_that_keeps_its_version_is_not_drained(home: Path) -> None:
    done = deploy(home, hosts("v1.37.2"), "--data", "artifact_source=source")
    assert done.returncode == 0, done.stderr
    assert "upgrade of" not in done.stderr
    assert "is being drained" not in done.stderr
    assert [host for operation, host, _ in outcomes(done.stderr) if operation.startswith("nodes | restart")] == [
        "a",
        "b",
        "m",
    ]
