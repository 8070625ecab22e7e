"""While a setting says so, components serve their metrics to readers with the right, and to nobody else."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

import pytest

from kubekeel.cluster import Node
from tests.lab_cluster import STATE, run_kubectl
from tests.support import CLUSTER, deployed, host_of, main_pids, settled

SETTING = ("--data", "metrics=true")
MASTER, MINION = CLUSTER.masters[0], CLUSTER.minions[0]
READER, A_KUBELET = STATE / "control/metrics", STATE / "nodes" / MINION.name / "kubelet-client"
# Each component with a metric that it has from its start.
BY_TOKEN: Mapping[str, tuple[Node, int, str]] = {
    "kube-apiserver": (MASTER, 6443, "apiserver_request_total"),
    "kube-controller-manager": (MASTER, 10257, "workqueue_adds_total"),
    "kube-scheduler": (MASTER, 10259, "scheduler_pending_pods"),
    "kubelet": (MINION, 10250, "kubelet_running_pods"),
}
BY_CERTIFICATE_ALONE: Mapping[str, tuple[Node, int, str]] = {
    "etcd": (MINION, 2381, "etcd_server_has_leader"),
    "kube-proxy": (MINION, 10249, "kubeproxy_sync_proxy_rules_duration_seconds_count"),
}


def answer(node: Node, port: int, pair: Path | None = None, token: str = "", path: str = "/metrics") -> tuple[int, str]:
    """Return status and text for a client with this certificate or token; 0 if the server refuses the connection."""
    context = ssl.create_default_context(cafile=str(STATE / "ca.crt"))
    context.load_verify_locations(STATE / "etcd-ca.crt")
    if pair:
        context.load_cert_chain(f"{pair}.crt", f"{pair}.key")
    connection = HTTPSConnection(node.address, port, context=context, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()


def listening(node: Node) -> set[str]:
    return set(host_of(node).check_output("ss -Hltn | awk '{print $4}'").split())


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    return main_pids(MINION)


@pytest.fixture(scope="module")
def _open(before: dict[str, str]) -> Iterator[None]:
    del before
    at_start = {node.name: listening(node) for node in CLUSTER.nodes}
    try:
        deployed(*SETTING)
        yield
    finally:
        settled()
        for node in CLUSTER.nodes:
            fixed = {address for address in listening(node) if int(address.rpartition(":")[2]) < 30000}
            assert fixed == {address for address in at_start[node.name] if int(address.rpartition(":")[2]) < 30000}
            assert host_of(node).run("systemctl cat kubekeel-etcd-metrics kubekeel-kube-proxy-metrics").rc != 0
        gone = ("clusterroles,clusterrolebindings", "kubekeel:metrics", "--ignore-not-found")
        assert run_kubectl("get", *gone) == ""


@pytest.fixture(scope="module")
def tokens(_open: None, namespace: str) -> Iterator[tuple[str, str]]:
    """Yield the token of an account that is bound to the role, and of one that is not."""
    for account in ("reader", "other"):
        run_kubectl("-n", namespace, "create", "serviceaccount", account)
    binding = ("clusterrolebinding", f"{namespace}-metrics")
    bound = f"--serviceaccount={namespace}:reader"
    run_kubectl("create", *binding, "--clusterrole=kubekeel:metrics", bound)
    yield tuple(run_kubectl("-n", namespace, "create", "token", each).strip() for each in ("reader", "other"))  # type: ignore[misc]
    run_kubectl("delete", *binding)


@pytest.mark.parametrize("name", BY_TOKEN)
def test_only_the_readers_token_or_certificate_can_read_metrics(name: str, tokens: tuple[str, str]) -> None:
    node, port, metric = BY_TOKEN[name]
    reader, other = tokens
    for status, text in (answer(node, port, token=reader), answer(node, port, READER)):
        assert status == 200
        assert metric in text
    assert answer(node, port)[0] in (401, 403)
    assert answer(node, port, token="made-up")[0] == 401
    assert answer(node, port, token=other)[0] == 403
    assert answer(node, port, A_KUBELET)[0] == 403


@pytest.mark.usefixtures("_open")
@pytest.mark.parametrize("name", BY_CERTIFICATE_ALONE)
def test_only_the_readers_certificate_can_read_metrics_of_etcd_and_kube_proxy(name: str) -> None:
    node, port, metric = BY_CERTIFICATE_ALONE[name]
    status, text = answer(node, port, READER)
    assert status == 200
    assert metric in text
    for pair in (None, A_KUBELET, STATE / "nodes" / MINION.name / "flannel-etcd-client"):
        assert answer(node, port, pair) == (0, "")


def test_a_reader_can_read_nothing_but_metrics(tokens: tuple[str, str]) -> None:
    for credential in ({"pair": READER}, {"token": tokens[0]}):
        for path in ("/api/v1/secrets", "/api/v1/nodes", "/debug/pprof/", "/logs"):
            assert answer(MASTER, 6443, path=path, **credential)[0] == 403  # type: ignore[arg-type]
        for path in ("/pods", "/configz", "/logs/"):
            assert answer(MINION, 10250, path=path, **credential)[0] == 403  # type: ignore[arg-type]
        for port in (10257, 10259):
            assert answer(MASTER, port, path="/configz", **credential)[0] == 403  # type: ignore[arg-type]
    assert answer(MINION, 2379, READER) == (0, "")


@pytest.mark.usefixtures("_open")
def test_metrics_restart_no_unit_and_a_second_run_changes_nothing(before: dict[str, str]) -> None:
    assert deployed(*SETTING).changes == []
    assert main_pids(MINION) == before
    for node in CLUSTER.nodes:
        for unit in ("kubekeel-etcd-metrics", "kubekeel-kube-proxy-metrics"):
            exposure = (
                host_of(node).check_output(f"systemd-analyze security {unit} | tail -n 1").split(": ")[1].split()[0]
            )
            assert float(exposure) <= 2.0
