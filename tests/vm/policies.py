"""The cases of network policies, for the table of docs/networking.md and for the spec that runs them.

"friend>web:8080" is a packet from the pod friend to that port of the pod web, by TCP and by UDP; "/tcp" or "/udp" at
the end names only one of them. All pods are on one node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Peer = dict[str, Any]

NAMESPACES = {"shop": {"team": "shop"}, "trusted": {"team": "trusted"}, "elsewhere": {"team": "elsewhere"}}
"""The namespaces with their labels."""

PODS = {
    "web": ("shop", {"app": "web", "tier": "front"}),
    "friend": ("shop", {"role": "friend"}),
    "other": ("shop", {"role": "other"}),
    "visitor": ("trusted", {"role": "friend"}),
    "clerk": ("trusted", {"role": "clerk"}),
    "stranger": ("elsewhere", {"role": "stranger"}),
}
"""The pods by name, with namespace and labels."""

PORTS = {8080: "main", 8081: "admin"}
"""The ports at which every pod answers, with their names."""

SERVICE = "service"
"""The name of the service of web, in packets."""
DNS = "dns"
"""The name of the cluster's DNS, in packets."""
HOST = "host"
"""The name of the pods' node, in packets."""


@dataclass(frozen=True)
class Packet:
    """A packet from a pod to a port of another, by "tcp" or "udp"."""

    source: str
    target: str
    port: int
    protocol: str


@dataclass(frozen=True)
class Case:
    """Policies with their namespaces, and the packets that must pass and must be blocked under these policies."""

    name: str
    policies: tuple[tuple[str, dict[str, Any]], ...]
    passes: tuple[str, ...]
    blocked: tuple[str, ...] = ()

    @property
    def expected(self) -> dict[Packet, bool]:
        return {
            packet: passes
            for written, passes in ((self.passes, True), (self.blocked, False))
            for packet_text in written
            for packet in packets(packet_text)
        }


def packets(written: str) -> Iterator[Packet]:
    """Yield the packets of a notation: of both protocols, unless it names one."""
    way, _, protocol = written.partition("/")
    source, _, destination = way.partition(">")
    target, _, port = destination.partition(":")
    for name in (protocol,) if protocol else ("tcp", "udp"):
        yield Packet(source, target, int(port), name)


def row(case: Case) -> tuple[str, str, str]:
    """Return a case's row in docs/networking.md, without its result."""
    return case.name, _cell(case.passes), _cell(case.blocked)


def _cell(written: Sequence[str]) -> str:
    return ", ".join(f"`{each}`" for each in written) or "-"


def objects(case: Case) -> list[dict[str, Any]]:
    """Return the policies of a case; "{web}" in an address is a placeholder for that pod's address."""
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": f"case-{number}", "namespace": namespace},
            "spec": spec,
        }
        for number, (namespace, spec) in enumerate(case.policies)
    ]


# Pieces of policies


def _ingress(*rules: Peer, of: Peer | None = None) -> dict[str, Any]:
    """Return rules of ingress to pods with the labels `of`, or to all pods of the namespace."""
    return {"podSelector": _labels(of), "policyTypes": ["Ingress"], "ingress": list(rules)}


def _egress(*rules: Peer, of: Peer | None = None) -> dict[str, Any]:
    return {"podSelector": _labels(of), "policyTypes": ["Egress"], "egress": list(rules)}


def _labels(labels: Peer | None) -> Peer:
    return {"matchLabels": labels} if labels else {}


def _pods(**labels: str) -> Peer:
    return {"podSelector": _labels(labels)}


def _namespaces(**labels: str) -> Peer:
    return {"namespaceSelector": _labels(labels)}


def _named(namespace: str) -> Peer:
    return {"namespaceSelector": _labels({"kubernetes.io/metadata.name": namespace})}


def _block(cidr: str, *without: str) -> Peer:
    return {"ipBlock": {"cidr": cidr, **({"except": list(without)} if without else {})}}


def _from(*peers: Peer, ports: Sequence[Peer] = ()) -> Peer:
    return {**({"from": list(peers)} if peers else {}), **({"ports": list(ports)} if ports else {})}


def _to(*peers: Peer, ports: Sequence[Peer] = ()) -> Peer:
    return {**({"to": list(peers)} if peers else {}), **({"ports": list(ports)} if ports else {})}


def _both(port: int | str, **more: int) -> tuple[Peer, Peer]:
    """Return a port for both protocols."""
    return {"protocol": "TCP", "port": port, **more}, {"protocol": "UDP", "port": port, **more}


_WEB = {"app": "web"}
_FRIEND = {"role": "friend"}
_EVERYWHERE = ("friend>web:8080", "other>web:8080", "visitor>web:8080", "stranger>web:8080")

CASES = (
    Case("no policy", (), (*_EVERYWHERE, "web>stranger:8080", "web>dns:53")),
    # Ingress
    Case(
        "default deny of ingress, of a namespace",
        (("shop", _ingress()),),
        ("web>stranger:8080", "friend>clerk:8080", "stranger>visitor:8080", "host>web:8080"),
        (*_EVERYWHERE, "web>friend:8080", "visitor>other:8081"),
    ),
    Case(
        "deny of ingress, of one pod",
        (("shop", _ingress(of=_WEB)),),
        ("stranger>friend:8080", "web>friend:8080", "host>web:8081"),
        _EVERYWHERE,
    ),
    Case(
        "all ingress allowed, with a default deny",
        (("shop", _ingress()), ("shop", _ingress({}, of=_WEB))),
        _EVERYWHERE,
        ("web>friend:8080", "stranger>other:8080"),
    ),
    Case(
        "ingress by labels of pods",
        (("shop", _ingress(_from(_pods(**_FRIEND)), of=_WEB)),),
        ("friend>web:8080", "friend>web:8081"),
        # The policy does not match pods of other namespaces.
        ("other>web:8080", "visitor>web:8080", "stranger>web:8080"),
    ),
    Case(
        "ingress from all pods of the same namespace",
        (("shop", _ingress(_from(_pods()), of=_WEB)),),
        ("friend>web:8080", "other>web:8081"),
        ("visitor>web:8080", "stranger>web:8080"),
    ),
    Case(
        "ingress by labels of namespaces",
        (("shop", _ingress(_from(_namespaces(team="trusted")), of=_WEB)),),
        ("visitor>web:8080", "clerk>web:8081"),
        ("friend>web:8080", "stranger>web:8080"),
    ),
    Case(
        "ingress from a namespace by name",
        (("shop", _ingress(_from(_named("elsewhere")), of=_WEB)),),
        ("stranger>web:8080",),
        ("friend>web:8080", "visitor>web:8080"),
    ),
    Case(
        "ingress from all namespaces",
        (("shop", _ingress()), ("shop", _ingress(_from(_namespaces()), of=_WEB))),
        _EVERYWHERE,
        ("stranger>friend:8080",),
    ),
    Case(
        "ingress by labels of namespaces and of their pods",
        (("shop", _ingress(_from({**_namespaces(team="trusted"), **_pods(**_FRIEND)}), of=_WEB)),),
        ("visitor>web:8080",),
        ("friend>web:8080", "clerk>web:8080", "stranger>web:8080"),
    ),
    Case(
        "ingress by labels of namespaces, or of pods",
        (("shop", _ingress(_from(_namespaces(team="trusted"), _pods(**_FRIEND)), of=_WEB)),),
        ("visitor>web:8080", "clerk>web:8080", "friend>web:8080"),
        ("other>web:8080", "stranger>web:8080"),
    ),
    Case(
        "ingress by an expression: In",
        (
            (
                "shop",
                _ingress(
                    _from(
                        {
                            "namespaceSelector": {
                                "matchExpressions": [{"key": "team", "operator": "In", "values": ["trusted", "none"]}]
                            }
                        }
                    ),
                    of=_WEB,
                ),
            ),
        ),
        ("visitor>web:8080",),
        ("friend>web:8080", "stranger>web:8080"),
    ),
    Case(
        "ingress by an expression: NotIn",
        (
            (
                "shop",
                _ingress(
                    _from(
                        {
                            "podSelector": {
                                "matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["other"]}]
                            }
                        }
                    ),
                    of=_WEB,
                ),
            ),
        ),
        ("friend>web:8080",),
        ("other>web:8080", "visitor>web:8080"),
    ),
    Case(
        "ingress to a port",
        (("shop", _ingress(_from(ports=_both(8080)), of=_WEB)),),
        ("friend>web:8080", "stranger>web:8080"),
        ("friend>web:8081", "stranger>web:8081"),
    ),
    Case(
        "ingress to a named port",
        (("shop", _ingress(_from(ports=[{"protocol": "TCP", "port": "admin-tcp"}]), of=_WEB)),),
        ("friend>web:8081/tcp",),
        ("friend>web:8080", "friend>web:8081/udp"),
    ),
    Case(
        "ingress to a range of ports",
        (("shop", _ingress(_from(ports=_both(8081, endPort=8090)), of=_WEB)),),
        ("friend>web:8081",),
        ("friend>web:8080",),
    ),
    Case(
        "ingress by TCP only",
        (("shop", _ingress(_from(ports=[{"protocol": "TCP"}]), of=_WEB)),),
        ("friend>web:8080/tcp", "friend>web:8081/tcp"),
        ("friend>web:8080/udp", "friend>web:8081/udp"),
    ),
    Case(
        "ingress by UDP only",
        (("shop", _ingress(_from(ports=[{"protocol": "UDP", "port": 8080}]), of=_WEB)),),
        ("friend>web:8080/udp",),
        ("friend>web:8080/tcp", "friend>web:8081"),
    ),
    Case(
        "ingress from some pods to one port",
        (("shop", _ingress(_from(_pods(**_FRIEND), ports=_both(8080)), of=_WEB)),),
        ("friend>web:8080",),
        ("friend>web:8081", "other>web:8080"),
    ),
    Case(
        "two policies for one pod add up",
        (
            ("shop", _ingress(_from(_pods(**_FRIEND), ports=_both(8080)), of=_WEB)),
            ("shop", _ingress(_from(_namespaces(team="elsewhere"), ports=_both(8081)), of={"tier": "front"})),
        ),
        ("friend>web:8080", "stranger>web:8081"),
        ("friend>web:8081", "stranger>web:8080", "other>web:8080"),
    ),
    Case(
        "ingress from an address",
        (("shop", _ingress(_from(_block("{stranger}/32")), of=_WEB)),),
        ("stranger>web:8080",),
        ("friend>web:8080", "visitor>web:8080"),
    ),
    Case(
        "ingress from a network, with an exception",
        (("shop", _ingress(_from(_block("10.244.0.0/16", "{friend}/32")), of=_WEB)),),
        ("other>web:8080", "stranger>web:8080"),
        ("friend>web:8080",),
    ),
    Case(
        "ingress from a network that no pod is in",
        (("shop", _ingress(_from(_block("198.51.100.0/24")), of=_WEB)),),
        ("host>web:8080",),
        _EVERYWHERE,
    ),
    # Egress
    Case(
        "default deny of egress, of a namespace",
        (("shop", _egress()),),
        ("stranger>web:8080", "visitor>friend:8080"),
        ("friend>web:8080", "web>stranger:8080", "web>dns:53"),
    ),
    Case(
        "all egress allowed, with a default deny",
        (("shop", _egress()), ("shop", _egress({}, of=_FRIEND))),
        ("friend>web:8080", "friend>stranger:8081", "friend>dns:53"),
        ("web>stranger:8080", "other>web:8080"),
    ),
    Case(
        "egress by labels of pods",
        (("shop", _egress(_to(_pods(**_WEB)), of=_FRIEND)),),
        ("friend>web:8080", "other>stranger:8080"),
        ("friend>other:8080", "friend>visitor:8080", "friend>stranger:8080"),
    ),
    Case(
        "egress by labels of namespaces",
        (("shop", _egress(_to(_namespaces(team="trusted")), of=_FRIEND)),),
        ("friend>visitor:8080", "friend>clerk:8081"),
        ("friend>web:8080", "friend>stranger:8080"),
    ),
    Case(
        "egress to a port",
        (("shop", _egress(_to(ports=_both(8081)), of=_FRIEND)),),
        ("friend>web:8081", "friend>stranger:8081"),
        ("friend>web:8080", "friend>stranger:8080", "friend>dns:53"),
    ),
    Case(
        "egress to a named port",
        (("shop", _egress(_to(ports=[{"protocol": "UDP", "port": "main-udp"}]), of=_FRIEND)),),
        ("friend>web:8080/udp", "friend>stranger:8080/udp"),
        ("friend>web:8080/tcp", "friend>web:8081"),
    ),
    Case(
        "egress to a network, with an exception",
        (("shop", _egress(_to(_block("10.244.0.0/16", "{web}/32")), of=_FRIEND)),),
        ("friend>other:8080", "friend>stranger:8080"),
        ("friend>web:8080",),
    ),
    Case(
        "egress to the cluster's DNS only",
        (("shop", _egress(_to(_named("kube-system"), ports=_both(53)), of=_FRIEND)),),
        ("friend>dns:53",),
        ("friend>web:8080", "friend>stranger:8080"),
    ),
    # Both
    Case(
        "default deny of ingress and egress",
        (("shop", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),),
        ("stranger>visitor:8080", "host>web:8080"),
        ("friend>web:8080", "stranger>web:8080", "web>stranger:8080", "web>dns:53"),
    ),
    Case(
        "both ends must allow a connection",
        (
            ("shop", _ingress(_from(_pods(**_FRIEND), _namespaces(team="trusted")), of=_WEB)),
            ("shop", _egress(_to(_namespaces(team="trusted")), of=_FRIEND)),
            ("trusted", _egress(_to(_namespaces(team="shop")), of=_FRIEND)),
        ),
        ("visitor>web:8080", "friend>visitor:8080", "clerk>web:8080"),
        ("friend>web:8080", "other>web:8080", "visitor>stranger:8080"),
    ),
    Case(
        "through a Service, policies apply to the pod behind it",
        (("shop", _ingress(_from(_pods(**_FRIEND), ports=_both(8080)), of=_WEB)),),
        ("friend>service:80",),
        ("other>service:80", "stranger>service:80"),
    ),
    Case(
        "a policy of another namespace changes nothing here",
        (("elsewhere", _ingress()), ("trusted", _ingress(of=_WEB))),
        ("friend>web:8080", "stranger>web:8080", "stranger>visitor:8080"),
        ("friend>stranger:8080",),
    ),
    Case("policies removed again", (), (*_EVERYWHERE, "web>stranger:8080", "friend>stranger:8080")),
)

MORE = {
    "test_an_allowed_connection_continues_when_policies_change": "an allowed connection continues when policies change",
    "test_a_connection_ends_when_a_policy_forbids_it": "a connection ends when a policy forbids it",
    "test_other_policies_apply_after_a_pod_s_labels_change": "other policies apply after a pod's labels change",
    "test_connections_continue_while_the_engine_restarts": (
        "while the program restarts, all packets pass; then policies apply again"
    ),
    "test_flushed_rules_come_back": "flushed rules come back",
    "test_without_the_setting_all_packets_pass_and_no_rule_is_left": (
        "setting removed: all packets pass, and no rule is left on the host"
    ),
}
"""The rows of docs/networking.md without packets, by their tests: specs of connections and of the engine."""
