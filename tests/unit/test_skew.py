"""The proof that no component talks to an older API server: it sees each component, and finds each one ahead."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.chaos.skew import COMPONENTS, REQUESTS, Request, ahead, read, unseen

OLD, NEW = "v1.36.3", "v1.37.2"
LOGS = "/var/log/kubernetes/audit"


def event(component: str, version: str, second: int) -> Request:
    return Request(component, version, f"2026-11-27T08:00:{second:02}.000000Z")


UPGRADE = [
    *(event(component, OLD, 10) for component in COMPONENTS),
    *(event("kube-apiserver", version, second) for version, second in ((OLD, 20), (NEW, 30), (NEW, 50))),
    *(event(component, NEW, 40) for component in COMPONENTS),
]


def test_an_upgrade_in_order_has_no_component_ahead_and_shows_each_one_in_both_versions() -> None:
    assert ahead(UPGRADE, OLD, NEW) == set()
    assert unseen(UPGRADE, OLD, NEW) == []


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("second", [15, 25])
def test_each_component_that_calls_an_older_api_server_is_found(component: str, second: int) -> None:
    early = event(component, NEW, second)
    # The API server's own first request shows when it became the new one.
    expected = set() if component == "kube-apiserver" and second > 20 else {component}
    assert ahead([*UPGRADE, early], OLD, NEW) == expected


def test_a_component_ahead_of_an_api_server_that_went_back_is_found() -> None:
    assert ahead([*UPGRADE, event("kube-apiserver", OLD, 45)], OLD, NEW) == set(COMPONENTS)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_component_that_no_log_shows_is_not_a_proof(component: str, version: str) -> None:
    requests = [each for each in UPGRADE if (each.component, each.version) != (component, version)]
    assert unseen(requests, OLD, NEW) == [f"{component} {version}"]
    if component == "kube-apiserver":
        with pytest.raises(ValueError, match="empty"):
            ahead(requests, OLD, NEW)


def test_requests_are_read_from_all_logs_of_an_api_server(tmp_path: Path) -> None:
    def line(agent: str) -> str:
        fields = {"kind": "Event", "verb": "get", "userAgent": agent, "objectRef": {"resource": "nodes"}}
        times = {"requestReceivedTimestamp": "2026-11-27T08:00:10.000000Z", "stageTimestamp": "later"}
        return json.dumps({**fields, **times}, separators=(",", ":")) + "\n"

    kubernetes = "(linux/amd64) kubernetes/unknown"
    (tmp_path / "audit-2026.log").write_text(line(f"kubelet/{OLD} {kubernetes}") + line("curl/8"))
    (tmp_path / "audit.log").write_text(
        line(f"kube-proxy/{NEW} {kubernetes}/leader-election") + line(f"kubectl/{NEW} {kubernetes}")
    )
    done = subprocess.run(
        ["sh", "-c", REQUESTS.replace(LOGS, str(tmp_path))], capture_output=True, text=True, check=True
    )
    assert read(done.stdout) == [event("kubelet", OLD, 10), event("kube-proxy", NEW, 10)]
