"""Requests that the cluster refuses, and places that never hold a key."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from http.client import HTTPSConnection
from pathlib import Path
from subprocess import Popen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from kubekeel.cluster import Node
from kubekeel.pki import Pki
from lab.shape import PROJECT
from tests.lab_cluster import INVENTORY, STATE, the_cluster, wait_until
from tests.sandboxes import exposures
from tests.support import ssh_to

CLUSTER = the_cluster()

MASTER = CLUSTER.masters[0]
KUBELETS = [node for node in CLUSTER.nodes if node.roles & {"masters", "minions"}]
PRIVATE_KEY = "/etc/flannel/pki/etcd-client.key"


# Clients that servers accept


def status(
    address: str, port: int, path: str, identity: Path | None = None, method: str = "GET", body: object = None
) -> int:
    """Return the HTTP status of a server for a client with the certificate and key `identity`, or without one."""
    context = ssl.create_default_context(cafile=str(STATE / "ca.crt"))
    if identity:
        context.load_cert_chain(f"{identity}.crt", f"{identity}.key")
    connection = HTTPSConnection(address, port, context=context, timeout=30)
    headers = {"Content-Type": "application/merge-patch+json"} if body else {}
    connection.request(method, path, body=json.dumps(body) if body else None, headers=headers)
    answer = connection.getresponse().status
    connection.close()
    return answer


def kubelet_of(node: Node) -> Path:
    return STATE / "nodes" / node.name / "kubelet-client"


def two_minions() -> tuple[Node, Node]:
    first, second, *_ = CLUSTER.minions
    return first, second


def test_a_kubelet_refuses_clients_without_a_certificate(node) -> None:
    assert status(node.address, 10250, "/pods") == 401
    assert status(node.address, 10250, "/run/kube-system/x/y", method="POST") == 401


def test_a_kubelet_refuses_other_nodes_and_accepts_the_api_server(node) -> None:
    for other in KUBELETS:
        if other != node:
            assert status(node.address, 10250, "/pods", kubelet_of(other)) == 403
    assert status(node.address, 10250, "/pods", STATE / "nodes" / MASTER.name / "kube-apiserver-kubelet-client") == 200


def test_the_api_servers_client_certificate_has_only_rights_on_kubelets(kubectl) -> None:
    rules = kubectl("auth", "can-i", "--list", "--as=kube-apiserver-kubelet-client")
    assert "nodes/proxy" in rules
    for action in ("get secrets", "list pods", "create pods", "delete nodes"):
        with pytest.raises(AssertionError, match="no\n"):
            kubectl("auth", "can-i", *action.split(), "--all-namespaces", "--as=kube-apiserver-kubelet-client")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_everyone_can_read_the_health_of_the_api(master, path) -> None:
    assert status(master.address, 6443, path) == 200


@pytest.mark.parametrize(
    "path", ["/", "/api", "/apis", "/version", "/metrics", "/openapi/v3", "/readyz/etcd", "/debug/pprof/"]
)
def test_only_health_is_answered_without_an_identity(master, path) -> None:
    assert status(master.address, 6443, path) == 401


def test_a_node_reads_only_the_secrets_of_its_own_pods(kubectl, namespace) -> None:
    own, other = two_minions()
    kubectl("-n", namespace, "create", "secret", "generic", "s", "--from-literal=password=hunter2")
    kubectl("apply", "-f", "-", given=json.dumps(pod_with_secret(namespace, own)))
    path = f"/api/v1/namespaces/{namespace}/secrets/s"
    wait_until(lambda: status(MASTER.address, 6443, path, kubelet_of(own)) == 200, 30, "its own node reads the secret")
    assert status(MASTER.address, 6443, path, kubelet_of(other)) == 403
    assert status(MASTER.address, 6443, "/api/v1/secrets", kubelet_of(own)) == 403


def pod_with_secret(namespace: str, node: Node) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": namespace},
        "spec": {
            "nodeName": node.name,
            "containers": [{"name": "c", "image": "none.invalid/none", "imagePullPolicy": "Never"}],
            "volumes": [{"name": "s", "secret": {"secretName": "s"}}],
        },
    }


def test_a_node_cannot_label_other_nodes_or_give_itself_a_role() -> None:
    own, other = two_minions()

    def label(node: Node, name: str) -> int:
        patch = {"metadata": {"labels": {name: "x"}}}
        return status(MASTER.address, 6443, f"/api/v1/nodes/{node.name}?dryRun=All", kubelet_of(own), "PATCH", patch)

    assert label(own, "example.org/x") == 200
    assert label(other, "example.org/x") == 403
    assert label(own, "node-restriction.kubernetes.io/x") == 403
    assert label(own, "node-role.kubernetes.io/control-plane") == 403


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        ({"hostNetwork": True}, "host namespaces"),
        ({"hostPID": True}, "host namespaces"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "hostPath volumes"),
        ({"privileged": True}, "privileged"),
    ],
    ids=["host network", "host PIDs", "host path", "privileged"],
)
def test_a_pod_that_could_take_over_its_host_is_refused(kubectl, change, violation) -> None:
    privileged = {"securityContext": {"privileged": True}} if change.pop("privileged", None) else {}
    spec = {"containers": [{"name": "c", "image": "none.invalid/none", **privileged}], **change}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": spec}
    with pytest.raises(AssertionError, match=f'violates PodSecurity "baseline:latest": {violation}'):
        kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(pod))


def test_a_service_cannot_claim_an_external_address(kubectl) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "default"},
        "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]},
    }
    with pytest.raises(AssertionError, match="externalIPs"):
        kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(service))


def servers(node: Node) -> Iterator[tuple[int, str]]:
    """Yield the ports of a node's servers, each with the name of a certificate that the server accepts."""
    if "masters" in node.roles:
        yield 6443, "kubelet-client"
    if "etcd" in node.roles:
        yield from [(2379, "etcd-peer"), (2380, "etcd-peer")]
    yield 10250, "kubelet-client"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_every_server_accepts_only_tls_1_2_or_newer_with_strong_suites(node) -> None:
    for port, pair in servers(node):
        identity = STATE / "nodes" / node.name / pair
        assert handshakes(node, port, identity, "ECDHE-ECDSA-AES128-GCM-SHA256", ssl.TLSVersion.TLSv1_2), port
        for weak in ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256"):
            assert not handshakes(node, port, identity, weak, ssl.TLSVersion.TLSv1_2), (port, weak)
        assert not handshakes(node, port, identity, "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0", ssl.TLSVersion.TLSv1_1), port


def handshakes(node: Node, port: int, identity: Path, suites: str, version: ssl.TLSVersion) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(suites)
    context.load_cert_chain(f"{identity}.crt", f"{identity}.key")
    connection = HTTPSConnection(node.address, port, context=context, timeout=30)
    try:
        connection.connect()
    except ssl.SSLError as error:
        if error.reason in ("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_PROTOCOL_VERSION"):
            return False
        raise
    finally:
        connection.close()
    return True


def test_add_ons_meet_the_restricted_profile_with_a_read_only_file_system(kubectl, namespace) -> None:
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    listing = json.loads(kubectl("-n", "kube-system", "get", "deployments", "-o", "json"))["items"]
    assert listing
    for deployment in listing:
        spec = deployment["spec"]["template"]["spec"]
        # They do not exist in another namespace, and the profile does not depend on them.
        for key in ("priorityClassName", "serviceAccountName", "serviceAccount"):
            spec.pop(key, None)
        name = deployment["metadata"]["name"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}
        kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(pod))
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name


@pytest.mark.parametrize("unit", exposures())
def test_a_unit_is_no_more_exposed_than_documented(node, on, unit) -> None:
    allowed, is_optional = exposures()[unit]
    if unit.startswith("etcd") and "etcd" not in node.roles:
        pytest.skip("no member of etcd")
    if is_optional and not on(node).file(f"/etc/systemd/system/{unit}.service").exists:
        pytest.skip("no setting adds this unit")
    last_line = on(node).check_output(f"systemd-analyze security {unit}.service --no-pager | tail -n 1")
    exposure = re.search(r"Overall exposure level for .*: ([0-9.]+)", last_line)
    assert exposure is not None, last_line
    assert float(exposure[1]) <= allowed


def test_the_audit_log_records_requests_without_the_content_of_secrets(master, on, kubectl, namespace) -> None:
    kubectl("-n", namespace, "create", "secret", "generic", "logged", "--from-literal=password=hunter2-in-the-log")
    read = f"grep -h '/namespaces/{namespace}/secrets' /var/log/kubernetes/audit/audit.log"
    events = [json.loads(line) for line in on(master).check_output(read).splitlines()]
    if len(CLUSTER.masters) == 1:
        assert "create" in {event["verb"] for event in events}
    assert {event["level"] for event in events} <= {"Metadata"}
    encoded = b64encode(b"hunter2-in-the-log").decode()
    assert on(master).run(f"grep -rlE 'hunter2-in-the-log|{encoded}' /var/log/kubernetes").rc == 1
    assert on(master).check_output("find /var/log/kubernetes -perm /077") == ""


# Places of keys


def secrets() -> list[str]:
    """Return pieces of every private key and encryption key, short enough to match despite line breaks."""
    bodies = [path.read_text().splitlines()[2] for path in STATE.rglob("*.key") if path.name != "encryption.key"]
    bodies += [line.split()[1] for line in (STATE / "encryption.key").read_text().splitlines()]
    return [body[start : start + 20] for body in bodies for start in (0, 21)]


def forms(secret: str) -> Iterator[str]:
    """Yield a secret, and its three forms inside base64, one for each position of its first byte."""
    yield secret
    for before in range(3):
        encoded = b64encode(b"\0" * before + secret.encode()).decode()
        yield encoded[4 if before else 0 : -4]


@cache
def patterns() -> list[str]:
    return [form for secret in secrets() for form in forms(secret)]


def leaked(text: str) -> list[str]:
    return [pattern for pattern in patterns() if pattern in text]


KNOWN = "a line that every search must find"


def search(node: Node, command: str, known: str) -> list[str]:
    """Return what the search `command` finds on a node: KNOWN and all patterns are on its stdin, none in its arguments.

    It must find `known` first and last. Its status does not count: it is 2 if a file disappears during the search.
    """
    done = subprocess.run(
        [*ssh_to(node), command],
        input="\n".join([KNOWN, *patterns()]), text=True, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    first, *found, last = done.stdout.splitlines() or ["", ""]
    assert (first, last) == (known, known), done.stderr
    return found


def files_with_keys(node: Node, places: str) -> list[str]:
    """Return the files in these places that contain a key."""
    command = f"grep -lasF --exclude-dir=credentials -f - {PRIVATE_KEY} {places} {PRIVATE_KEY}"
    return search(node, command, PRIVATE_KEY)


def test_the_search_finds_a_key_in_its_file(node) -> None:
    assert files_with_keys(node, PRIVATE_KEY) == [PRIVATE_KEY]


@pytest.mark.parametrize(
    "places",
    [
        *("/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ", "-r /tmp /var/tmp /dev/shm /run", "-r /var/log"),
        *("-r /opt/kubekeel/incoming /root /home", "-r /etc/systemd /var/lib/etcd"),
    ],
)
def test_no_key_is_in(node, places) -> None:
    assert files_with_keys(node, places) == []


def test_no_key_is_in_the_journal(node) -> None:
    journal = f"echo '{KNOWN}'; journalctl -o cat --no-pager && echo '{KNOWN}'"
    command = f"cat >/run/patterns; {{ {journal}; }} | grep -F -f /run/patterns; rm /run/patterns"
    assert search(node, command, KNOWN) == []


def test_no_certificate_on_a_node_has_the_group_system_masters(node, on) -> None:
    paths = on(node).check_output("find /etc -name '*.crt' -path '*/pki/*'").split()
    assert paths
    for path in paths:
        subject = x509.load_pem_x509_certificate(on(node).file(path).content).subject
        groups = [part.value for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        assert "system:masters" not in groups, path


@pytest.mark.parametrize(
    ("pod", "keys"),
    [
        ("kube-scheduler", {"kube-scheduler.key"}),
        ("kube-controller-manager", {"kube-controller-manager.key", "sa.key"}),
    ],
)
def test_a_static_pod_sees_only_its_own_keys(master, on, pod, keys) -> None:
    # The kernel truncates a process's name to 15 bytes.
    process = on(master).check_output(f"pgrep -o -x {pod[:15]}")
    found = on(master).check_output(f"find /proc/{process}/root/etc/kubernetes -type f").split()
    assert {path.rpartition("/")[2] for path in found if path.endswith(".key")} == keys
    assert not [path for path in found if "encryption" in path or "admin" in path]


# Runs


def deploy(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["pyinfra", "-y", str(INVENTORY), "deploy.py", *options],
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip


@pytest.fixture
def open_key(on) -> Iterator[Node]:
    """Make a private key of a minion readable by everyone, so that a run must write it, and yield the minion."""
    node = CLUSTER.minions[0]
    on(node).check_output(f"chmod 0644 {PRIVATE_KEY}")
    yield node
    on(node).check_output(f"chmod 0600 {PRIVATE_KEY}")


@contextmanager
def recording_arguments(nodes: Iterable[Node], folder: Path) -> Iterator[None]:
    """Record the arguments of every process on each node, in one file per node, while the block runs."""
    record = "while cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | sort -u; do sleep 0.05; done"
    # The loop ends when its output is closed.
    recorders = [Popen([*ssh_to(node), record], stdout=(folder / node.name).open("w")) for node in nodes]
    try:
        yield
    finally:
        for recorder in recorders:
            recorder.terminate()
            recorder.wait()


def test_a_run_that_writes_a_key_shows_none_even_with_vvv_and_diff(open_key, on, tmp_path) -> None:
    with recording_arguments(CLUSTER.nodes, tmp_path):
        done = deploy("-vvv", "--diff")
    assert done.returncode == 0, done.stdout + done.stderr
    assert on(open_key).file(PRIVATE_KEY).mode == 0o600
    assert leaked(done.stdout + done.stderr) == []
    assert "PRIVATE KEY" not in done.stdout + done.stderr
    for node in CLUSTER.nodes:
        arguments = (tmp_path / node.name).read_text(errors="replace")
        assert "/opt/kubekeel/bin/kubelet" in arguments, node.name
        assert leaked(arguments) == [], node.name


def test_a_changed_host_key_stops_the_run_before_any_write(open_key, on, tmp_path) -> None:
    changed = CLUSTER.minions[-1]
    lines = (STATE / "known_hosts").read_text().splitlines()
    other = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    known_hosts = tmp_path / "known_hosts"
    kept = [line for line in lines if line.split()[0] != changed.address]
    assert len(kept) < len(lines)
    known_hosts.write_text("\n".join([*kept, f"{changed.address} {other}", ""]))
    done = deploy("--data", f"ssh_known_hosts_file={known_hosts}")
    assert done.returncode == 1
    assert changed.name in done.stderr
    assert "host key" in done.stderr.lower()
    assert on(open_key).file(PRIVATE_KEY).mode == 0o644


def test_api_servers_verify_the_certificate_of_metrics_server(kubectl) -> None:
    service = json.loads(kubectl("get", "apiservice", "v1beta1.metrics.k8s.io", "-o", "json"))
    assert not service["spec"].get("insecureSkipTLSVerify")
    assert b64decode(service["spec"]["caBundle"]) == Pki.open(STATE, the_cluster(), nodes=()).authority("ca")
    assert {each["type"]: each["status"] for each in service["status"]["conditions"]}["Available"] == "True"
