"""Probes and units give slow components time, since giving up would restart them again and again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from kubekeel import render
from kubekeel.needs import STATIC_PODS
from kubekeel.parts import placeholder
from kubekeel.render import PROJECT, Target
from tests.clusters import cluster
from tests.hosts import machine

UNITS = sorted((PROJECT / "templates/systemd").glob("*.service.j2"))
HALF_AN_HOUR = 1800
IMAGE = SimpleNamespace(reference="image", digest="digest")


def target(**settings: object) -> Target:
    supply: Any = SimpleNamespace(image=lambda _name, _arch: IMAGE)
    desired = cluster(**settings)
    node = desired.node("m")
    return Target(node, machine("m"), desired, placeholder(node, desired).pki, supply)


def probes(manifest: bytes) -> dict[str, dict[str, Any]]:
    found = {}
    for each in yaml.safe_load_all(manifest):
        spec = each["spec"]["template"]["spec"] if each["kind"] == "Deployment" else each.get("spec", {})
        for container in spec.get("containers", ()):
            found |= {kind: probe for kind, probe in container.items() if kind.endswith("Probe")}
    return found


def manifests() -> dict[str, bytes]:
    pods = {
        name: render._rendered(target(), f"control_plane/{name}.yaml", image=IMAGE, arguments={}, config_digest="")
        for name in STATIC_PODS
    }
    for dashboard in ("headlamp", "kube-web-view"):
        pods |= {f"{name} ({dashboard})": text for name, text in render.addons(target(dashboard=dashboard)).items()}
    return {name: text for name, text in pods.items() if probes(text)}


@pytest.mark.parametrize("manifest", manifests().values(), ids=manifests())
def test_a_pod_may_take_half_an_hour_to_start_and_half_a_minute_to_answer(manifest: bytes) -> None:
    found = probes(manifest)
    assert found["startupProbe"]["periodSeconds"] * found["startupProbe"]["failureThreshold"] >= HALF_AN_HOUR
    assert {probe.get("timeoutSeconds", 1) for probe in found.values()} == {30}
    assert "initialDelaySeconds" not in found["livenessProbe"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_restarts_a_unit_whenever_it_ends_and_never_because_it_is_slow(unit: Path) -> None:
    text = unit.read_text()
    assert "\nStartLimitIntervalSec=0\n" in text
    if "\nType=notify\n" in text:
        assert "\nTimeoutStartSec=infinity\n" in text
