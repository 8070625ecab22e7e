"""Pods, services and DNS names are reachable from every node and pod."""

from __future__ import annotations

import itertools
import json
from functools import partial

import pytest

from operations.etcd import ETCDCTL
from tests.lab_cluster import wait_until
from tests.support import client

FETCH = "import urllib.request,sys; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
RESOLVE = "import socket,sys; print(socket.gethostbyname(sys.argv[1]))"


def python(kubectl, namespace, pod, program, *arguments) -> str:
    return kubectl("-n", namespace, "exec", pod, "--", "python3", "-c", program, *arguments).strip()


def service_of(kubectl, namespace):
    return json.loads(kubectl("-n", namespace, "get", "service", "web", "-o", "json"))["spec"]


def test_pods_reach_pods_across_every_pair_of_nodes(kubectl, namespace, servers) -> None:
    pods = json.loads(kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
    addresses = {pod["spec"]["nodeName"]: pod["status"]["podIP"] for pod in pods}
    for source, target in itertools.product(servers, servers):
        assert python(kubectl, namespace, servers[source], FETCH, f"http://{addresses[target]}:8080") == target


@pytest.mark.usefixtures("servers")
def test_every_node_reaches_every_pod(node, on, kubectl, namespace) -> None:
    pods = json.loads(kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
    for pod in pods:
        url = f"http://{pod['status']['podIP']}:8080"
        assert get(on(node), url) == pod["spec"]["nodeName"]


def get(host, url: str) -> str:
    server, _, path = url.removeprefix("http://").partition("/")
    return host.check_output(f"kubectl --kubeconfig=/dev/null --server=http://{server} get --raw /{path}")


def test_a_service_answers_at_its_cluster_ip_from_pods_and_from_every_node(
    kubectl, cluster, on, namespace, servers
) -> None:
    address = service_of(kubectl, namespace)["clusterIP"]
    for pod in servers.values():
        assert python(kubectl, namespace, pod, FETCH, f"http://{address}") in servers
    for node in cluster.nodes:
        assert get(on(node), f"http://{address}:80") in servers


def test_a_service_answers_at_its_node_port_on_every_node(kubectl, cluster, on, namespace, servers) -> None:
    port = service_of(kubectl, namespace)["ports"][0]["nodePort"]
    for source, target in itertools.product(cluster.nodes, cluster.nodes):
        assert get(on(source), f"http://{target.address}:{port}") in servers


def test_names_of_services_and_pods_resolve_in_pods(kubectl, cluster, namespace, servers) -> None:
    pod = next(iter(servers.values()))
    assert python(kubectl, namespace, pod, RESOLVE, "kubernetes.default") == cluster.api_service_address
    full = f"web.{namespace}.svc.{cluster.cluster_domain}"
    address = service_of(kubectl, namespace)["clusterIP"]
    for name in ("web", f"web.{namespace}", full):
        # CoreDNS learns of a new namespace in moments; after a restart of the API server, one of its pods may be late.
        resolved = partial(python, kubectl, namespace, pod, RESOLVE, name)
        assert wait_until(resolved, 60, f"{name} has an address") == address
    own = json.loads(kubectl("-n", namespace, "get", "pod", pod, "-o", "json"))["status"]["podIP"]
    dashed = f"{own.replace('.', '-')}.{namespace}.pod.{cluster.cluster_domain}"
    assert python(kubectl, namespace, pod, RESOLVE, dashed) == own


REVERSE = """
import socket, struct
name = b"".join(bytes([len(part)]) + part.encode() for part in "1.1.168.192.in-addr.arpa".split(".")) + b"\\0"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.settimeout(20)
    asking.sendto(struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack(">2H", 12, 1), ("{dns}", 53))
    print(asking.recv(512)[3] & 15)
"""


def test_reverse_queries_for_outside_addresses_go_to_the_nodes_name_servers(
    kubectl, cluster, namespace, servers
) -> None:
    code = python(kubectl, namespace, next(iter(servers.values())), REVERSE.format(dns=cluster.dns_address))
    does_not_exist = "3"
    assert code != does_not_exist


def test_kube_proxy_reports_its_health_at_the_nodes_address(node, on, cluster) -> None:
    for target in cluster.nodes:
        assert "lastUpdated" in get(on(node), f"http://{target.address}:10256/healthz")


def test_a_node_writes_its_whole_status_only_every_five_minutes(kubectl, node) -> None:
    configuration = json.loads(kubectl("get", "--raw", f"/api/v1/nodes/{node.name}/proxy/configz"))["kubeletconfig"]
    assert configuration["nodeStatusReportFrequency"] == "5m0s"


def test_a_nodes_mac_address_on_the_pod_network_follows_from_its_ip_address(cluster, node, on) -> None:
    expected = "0a:58:" + ":".join(f"{int(octet):02x}" for octet in node.address.split("."))
    assert on(node).file("/sys/class/net/flannel.1/address").content_string.strip() == expected
    leases = on(cluster.etcd[0]).check_output(f"{ETCDCTL} get --prefix --print-value-only /coreos.com/network/subnets/")
    by_host = {lease["PublicIP"]: lease for lease in map(json.loads, filter(None, leases.splitlines()))}
    assert by_host[node.address]["BackendData"]["VtepMAC"] == expected


def test_creating_a_network_policy_warns_that_nothing_enforces_it() -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }
    with client() as api:
        path = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
        response = api.post(path, params={"dryRun": "All"}, json=policy)
    assert response.status_code == 201
    assert "does not enforce network policies" in response.headers["Warning"]
