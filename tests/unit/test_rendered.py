"""The finished files in tests/rendered are those that the templates make, and pass the CIS benchmark."""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubekeel.cis import CONTROLS, Evidence, hosts
from kubekeel.cis.evidence import FileSeen
from tests.example import LIST, RENDERED, clusters, files

AGAIN = "review the difference, then write them again: python -m tests.example"
SCORED = [control for control in CONTROLS if control.scored and control.scope != "cluster"]


def test_tests_rendered_has_the_files_of_every_host_and_no_others() -> None:
    there = {str(path.relative_to(RENDERED)) for path in RENDERED.rglob("*") if path.is_file()}
    assert there == files().keys(), AGAIN


@pytest.mark.parametrize("name", files())
def test_a_file_lands_as_tests_rendered_has_it(name: str) -> None:
    assert (RENDERED / name).read_text() == files()[name], AGAIN


def commands(host: Path) -> dict[str, tuple[str, ...]]:
    """The arguments of every component that the files of a host start, by its name."""
    found = {}
    for manifest in host.glob("etc/kubernetes/manifests/*.yaml"):
        (container,) = yaml.safe_load(manifest.read_text())["spec"]["containers"]
        found[container["name"]] = tuple(container["command"][1:])
    for name in ("etcd", "kubelet", "kube-proxy"):
        if (unit := host / f"etc/systemd/system/{name}.service").exists():
            (start,) = re.findall(r"^ExecStart=((?:.*\\\n)*.*)$", unit.read_text(), re.MULTILINE)
            found[name] = tuple(start.replace("\\\n", " ").split()[1:])
    return found


def modes(host: Path) -> dict[str, FileSeen]:
    entries = (line.split() for line in (host / LIST).read_text().splitlines())
    return {path: FileSeen(int(mode, 8), more[0]) for path, mode, *more in entries if mode.isdigit()}


@cache
def evidence(name: str) -> Evidence:
    """What an auditor would see on a host of the example."""
    host = RENDERED / name
    started = commands(host)
    paths = {word.partition("=")[2] for arguments in started.values() for word in arguments}
    configurations: dict[str, Any] = {
        path: yaml.safe_load((host / path[1:]).read_text())
        for path in paths
        if path.endswith(".yaml") and (host / path[1:]).is_file()
    }
    keys = configurations.get("/etc/kubernetes/encryption-config.yaml", {"resources": []})
    return Evidence(
        arguments=started,
        files=modes(host),
        digests={path: sha256((host / path[1:]).read_bytes()).hexdigest() for path in paths if path.endswith(".crt")},
        configurations=configurations,
        providers=tuple(next(iter(each["providers"][0])) for each in keys["resources"]),
        kubelet_unit="/etc/systemd/system/kubelet.service",
    )


@pytest.mark.parametrize("control", SCORED, ids=lambda control: control.id)
def test_a_scored_control_passes_the_files_of_every_host_that_it_is_about(control: Any) -> None:
    looked_at = [name for cluster in clusters() for name in hosts(control.scope, cluster)]
    assert looked_at
    assert {name: control.check(evidence(name)) for name in looked_at} == dict.fromkeys(looked_at, "")
