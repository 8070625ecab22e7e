"""The setting `dns` on the running cluster: upstreams, zones and hosts, and a user's config map."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from lab.shape import GATEWAY
from tests.lab_cluster import run_kubectl, wait_until
from tests.support import deployed, settled

ANSWER = "192.0.2.77"


@pytest.fixture(scope="module")
def queried() -> Iterator[list[str]]:
    """Run a name server outside the cluster, which resolves all names to ANSWER, and yield the queried names."""
    names: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((GATEWAY, 53))

        def serve() -> None:
            with suppress(OSError):
                while True:
                    query, client = server.recvfrom(512)
                    names.append(_name(query))
                    server.sendto(_answer(query), client)

        threading.Thread(target=serve, daemon=True).start()
        yield names


def _name(query: bytes) -> str:
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    return ".".join(labels).lower()


def _answer(query: bytes) -> bytes:
    question = query[12 : query.index(b"\0", 12) + 5]
    (kind,) = struct.unpack(">H", question[-4:-2])
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 5, 4) + socket.inet_aton(ANSWER) if kind == 1 else b""
    return query[:2] + struct.pack(">5H", 0x8580, 1, bool(record), 0, 0) + question + record


@pytest.fixture(scope="module")
def resolve(namespace: str, servers: dict[str, str]) -> Callable[[str], str]:
    """Return a function that resolves a name in a pod; it returns an empty string if the name has no address."""

    def look(name: str) -> str:
        pod = next(iter(servers.values()))
        script = f"import socket\ntry: print(socket.gethostbyname({name!r}))\nexcept OSError: print()"
        return run_kubectl("-n", namespace, "exec", pod, "--", "python3", "-c", script).strip()

    return look


def test_zones_hosts_and_upstreams_of_the_setting_answer_queries(
    queried: list[str], resolve: Callable[[str], str]
) -> None:
    dns = {
        "upstreams": [GATEWAY],
        "zones": {"corp.example": [GATEWAY]},
        "hosts": {"mail.example": "192.0.2.25"},
        "replicas": 1,
        "corefile": "lab.example:53 {\n  hosts {\n    192.0.2.61 www.lab.example\n  }\n}\n",
    }
    try:
        deployed("--data", f"dns={json.dumps(dns)}")
        wait_until(lambda: resolve("mail.example") == "192.0.2.25", 120, "CoreDNS takes in its configuration")
        deployment = ("-n", "kube-system", "get", "deployment", "coredns")
        assert run_kubectl(*deployment, "-o", "jsonpath={.spec.replicas}") == "1"
        queried.clear()
        assert resolve("mail.example") == "192.0.2.25"
        assert resolve("www.corp.example") == ANSWER
        assert resolve("elsewhere.example") == ANSWER
        assert resolve("www.lab.example") == "192.0.2.61"
        assert not {"mail.example", "www.lab.example"} & set(queried)
        assert {"www.corp.example", "elsewhere.example"} <= set(queried)
        assert resolve("kubernetes.default.svc.cluster.local") == "10.96.0.1"
    finally:
        settled()
    wait_until(lambda: resolve("mail.example") != "192.0.2.25", 120, "CoreDNS forgets it")


def test_a_users_config_map_takes_effect_and_stays_unchanged(resolve: Callable[[str], str]) -> None:
    override = "hosts {\n  192.0.2.99 mine.example\n  fallthrough\n}\n"
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "coredns-custom", "namespace": "kube-system"},
        "data": {"mine.override": override},
    }
    run_kubectl("apply", "-f", "-", given=json.dumps(config))
    try:
        wait_until(lambda: resolve("mine.example") == "192.0.2.99", 180, "CoreDNS takes in the user's own")
        settled()
        kept = json.loads(run_kubectl("-n", "kube-system", "get", "configmap", "coredns-custom", "-o", "json"))
        assert kept["data"] == {"mine.override": override}
    finally:
        run_kubectl("-n", "kube-system", "delete", "configmap", "coredns-custom")
