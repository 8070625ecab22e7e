"""Pods that test on request whether packets pass. Requests use sockets in a folder of the host, not the network."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.lab_cluster import wait_until
from tests.virtual import PATIENCE, Machine
from tests.vm.policies import DNS, HOST, NAMESPACES, PODS, PORTS, SERVICE, Case, Packet, objects

FOLDER = "/var/lib/probes"

# `agent FOLDER NAME PORT...` answers all packets to its ports, and sends the packets that requests at FOLDER/NAME name.
# A packet is a DNS query, so that name servers answer, too.
AGENT = """
import os, socket, sys, threading
folder, name, *ports = sys.argv[1:]
words = b"kubernetes.default.svc.cluster.local".split(b".")
query_name = b"".join(bytes([len(word)]) + word for word in words)
question = bytes([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + query_name + bytes([0, 0, 1, 0, 1])
kept = {}

def start(target, *arguments):
    threading.Thread(target=target, args=arguments, daemon=True).start()

def echo(connection):
    with connection:
        while data := connection.recv(1000):
            connection.sendall(data)

def serve_tcp(port):
    with socket.create_server(("", port), backlog=50) as listener:
        while True:
            start(echo, listener.accept()[0])

def serve_udp(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("", port))
        while True:
            data, sender = listener.recvfrom(1000)
            listener.sendto(data, sender)

def connect(address, port):
    connection = socket.create_connection((address, int(port)), timeout=4)
    connection.settimeout(4)
    return connection

def say(connection):
    connection.sendall(len(question).to_bytes(2, "big") + question)
    return bool(connection.recv(1000))

def tcp(address, port):
    with connect(address, port) as connection:
        return say(connection)

def udp(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(2)
        sender.connect((address, int(port)))
        for attempt in range(2):
            sender.send(question)
            try:
                return bool(sender.recv(1000))
            except TimeoutError:
                pass
    return False

def keep(address, port):
    kept["connection"] = connect(address, port)
    return say(kept["connection"])

def again():
    return say(kept["connection"])

def answer(client):
    with client:
        what, *arguments = client.recv(1000).decode().split()
        try:
            passes = {"tcp": tcp, "udp": udp, "keep": keep, "again": again}[what](*arguments)
        except OSError:
            passes = False
        client.sendall(b"1" if passes else b"0")

for port in map(int, ports):
    start(serve_tcp, port)
    start(serve_udp, port)
path = f"{folder}/{name}"
if os.path.exists(path):
    os.remove(path)
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(path)
    listener.listen(50)
    while True:
        start(answer, listener.accept()[0])
"""

# Each argument is an agent's name and a request. It sends all requests at once, and prints an answer for each.
ASK = f"""
import socket, sys, threading
answers = {{}}

def ask(line):
    name, _, what = line.partition(" ")
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect("{FOLDER}/" + name)
        agent.sendall(what.encode())
        answers[line] = agent.recv(1).decode()

threads = [threading.Thread(target=ask, args=[line]) for line in sys.argv[1:]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("".join(answers.get(line) or "-" for line in sys.argv[1:]))
"""


@dataclass(frozen=True)
class ProbePods:
    """The pods of the cases, on one machine; `addresses` are the pods' by name."""

    machine: Machine
    addresses: Mapping[str, str]
    seen: dict[Packet, bool] = field(default_factory=dict)

    def passes(self, *lines: str, first: str = "true") -> list[bool]:
        """Run a shell command on the machine, then return the agents' answers to lines like "friend tcp web 8080"."""
        words = (line.split() for line in lines)
        requests = [" ".join([who, *(self.addresses.get(word, word) for word in what)]) for who, *what in words]
        answers = self.machine.on(f"{first} && python3 -c {shlex.quote(ASK)} {shlex.join(requests)}")
        assert len(answers) == len(lines), answers
        assert "-" not in answers, f"an agent does not answer: {dict(zip(lines, answers, strict=True))}"
        return [each == "1" for each in answers]

    def observe(self, packets: Iterable[Packet]) -> dict[Packet, bool]:
        """Return whether each of these packets passes now."""
        packets = list(packets)
        lines = [f"{each.source} {each.protocol} {each.target} {each.port}" for each in packets]
        return dict(zip(packets, self.passes(*lines), strict=True))

    def apply(self, case: Case) -> None:
        """Apply the policies of a case, and delete all others."""
        self.machine.kubectl("delete", "networkpolicies", "--all", "--all-namespaces")
        if case.policies:
            warnings = self.machine.apply([_with_addresses(each, self.addresses) for each in objects(case)])
            assert "does not enforce" not in warnings

    def enforce(self, case: Case) -> None:
        """Apply a case's policies, and wait until its packets pass or are blocked as expected."""
        self.apply(case)
        self.settle(case.expected)

    def settle(self, expected: Mapping[Packet, bool], patience: float = 300) -> None:
        """Wait until packets pass or are blocked as expected, twice in a row: the engine follows within seconds."""

        def agrees() -> bool:
            now = self.observe(expected)
            self.seen.clear()
            self.seen.update(now)
            return self.seen == expected

        try:
            wait_until(lambda: agrees() and agrees(), patience, "policies are followed")
        except AssertionError as late:
            wrong = [f"{each} {'passes' if self.seen[each] else 'is blocked'}" for each in expected
                     if self.seen.get(each, expected[each]) != expected[each]]  # fmt: skip
            raise AssertionError("\n".join([str(late), *wrong])) from None


@contextmanager
def built(machine: Machine, image: str) -> Iterator[ProbePods]:
    """Make the pods of the cases, with agents that answer; delete them at the end."""
    machine.on(f"mkdir -p {FOLDER}")
    machine.apply(map(_namespace, NAMESPACES))
    for name in NAMESPACES:
        machine.kubectl("-n", name, "wait", "serviceaccount/default", "--for=create", "--timeout=600s")
    machine.apply([*(_pod(name, image) for name in PODS), _service()])
    for name in NAMESPACES:
        machine.kubectl("-n", name, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=1800s")
    # The host runs an agent, too, with its own Python and without ports.
    machine.on(
        "systemctl is-active --quiet probes || systemd-run --quiet --unit=probes"
        f" python3 -c {shlex.quote(AGENT)} {FOLDER} {HOST}"
    )
    names = " ".join(f"{FOLDER}/{name}" for name in (*PODS, HOST))
    wait_until(lambda: machine.on(f"ls {names} 2>/dev/null | wc -l") == str(len(PODS) + 1), PATIENCE, "agents answer")
    addresses = {
        name: _field(machine, namespace, f"pod/{name}", ".status.podIP") for name, (namespace, _) in PODS.items()
    }
    addresses[SERVICE] = _field(machine, "shop", "service/web", ".spec.clusterIP")
    addresses[DNS] = _field(machine, "kube-system", "service/kube-dns", ".spec.clusterIP")
    yield ProbePods(machine, addresses)
    machine.kubectl("delete", "namespace", *NAMESPACES)
    machine.on(f"systemctl stop probes; rm -r {FOLDER}")


def _field(machine: Machine, namespace: str, what: str, field: str) -> str:
    return machine.kubectl("-n", namespace, "get", what, "-o", f"jsonpath={{{field}}}").strip()


def _namespace(name: str) -> dict[str, Any]:
    # By default, the cluster refuses pods that use a folder of the host.
    labels = {**NAMESPACES[name], "pod-security.kubernetes.io/enforce": "privileged"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _pod(name: str, image: str) -> dict[str, Any]:
    namespace, labels = PODS[name]
    container = {
        "name": "agent",
        "image": image,
        "command": ["python3", "-c", AGENT, FOLDER, name, *map(str, PORTS)],
        "ports": [
            {"name": f"{label}-{protocol.lower()}", "containerPort": port, "protocol": protocol}
            for port, label in PORTS.items()
            for protocol in ("TCP", "UDP")
        ],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "probes", "mountPath": FOLDER}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "probes", "hostPath": {"path": FOLDER}}],
            "terminationGracePeriodSeconds": 0,
        },
    }


def _service() -> dict[str, Any]:
    ports: Sequence[dict[str, Any]] = [
        {"name": protocol.lower(), "protocol": protocol, "port": 80, "targetPort": 8080} for protocol in ("TCP", "UDP")
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": ports},
    }


def _with_addresses(policy: Any, addresses: Mapping[str, str]) -> Any:
    """Return a policy with the addresses of pods in place of the pods' names in braces."""
    match policy:
        case dict():
            return {key: _with_addresses(value, addresses) for key, value in policy.items()}
        case list():
            return [_with_addresses(value, addresses) for value in policy]
        case str() if policy.startswith("{"):
            return policy.format(**addresses)
    return policy
