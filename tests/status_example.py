"""A cluster's status with an example of everything: `python -m tests.status_example FILE` writes its page."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from kubekeel.status import AS_DESCRIBED, SERVES, Certificate, Component, Member, NodeStatus, Space, Status
from kubekeel.status_page import page, write

GIB = 2**30
WHEN = datetime(2030, 5, 17, 9, 30, tzinfo=UTC)

_UNITS = {"flanneld": "v0.28.10", "containerd": "v2.4.2", "kubelet": "v1.37.2", "kube-proxy": "v1.37.2"}
_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def node(name: str, number: int, *roles: str, **changes: object) -> NodeStatus:
    """Return a healthy node, except for `changes`."""
    units = {**({"etcd": "v3.7.3"} if "etcd" in roles else {}), **_UNITS, "api-balancer": "v3.7.3"}
    components = [Component(unit, SERVES, version) for unit, version in units.items()]
    components += [Component(each, AS_DESCRIBED, "") for each in ("kernel settings", "images")]
    certificates = [
        ("kubernetes/pki/kubelet-client", 251),
        ("kubernetes/pki/ca", 3541),
        ("flannel/pki/etcd-client", 251),
    ]
    if "masters" in roles:
        components += [Component(pod, SERVES, "v1.37.2") for pod in _PODS]
        certificates += [("kubernetes/pki/apiserver", 251), ("kubernetes/pki/admin", 251)]
    found: dict[str, object] = {
        "kubekeel_version": "1.0.0",
        "components": tuple(components),
        "member": Member(leads=number == 1, size=31 * 2**20) if "etcd" in roles else None,
        "certificates": tuple(Certificate(f"/etc/{path}.crt", days) for path, days in certificates),
        "snapshot_age": 3600.0 * (1 + number) if "etcd" in roles else None,
        "memory": Space("memory", 8 * GIB, 3 * GIB + number * GIB),
        "disks": (Space("/", 60 * GIB, 41 * GIB),),
    }
    return NodeStatus(name, f"192.0.2.{number}", roles=roles, **(found | changes))  # type: ignore[arg-type]


def status(*nodes: NodeStatus) -> Status:
    members = {each.name: each.address for each in nodes if "etcd" in each.roles}
    return Status(
        cluster="production",
        kubernetes_version="v1.37.2",
        renew_before_days=30,
        nodes=nodes,
        kept=(Certificate("ca", 3541), Certificate("admin", 251)),
        etcd=members,
        kubekeel_version="1.0.0",
        generations={"ca": (1,), "etcd-ca": (1, 2)},
    )


def unhealthy() -> Status:
    """Return a status with an unreachable host, a full disk and a certificate that expires soon."""
    master = node("master1", 1, "etcd", "masters")
    stopped = Component("kube-proxy", "not active", "v1.37.2")
    full = node(
        "minion1", 2, "etcd", "minions", disks=(Space("/", 60 * GIB, 4 * GIB), Space("/var/lib/etcd", GIB, GIB // 2))
    )
    return status(
        master,
        node("minion2", 3, "etcd", "minions"),
        node("minion3", 4, "minions", certificates=(Certificate("/etc/kubernetes/pki/kubelet-client.crt", 12),)),
        NodeStatus("minion4", "192.0.2.5", unreachable="no SSH connection", roles=("minions",)),
        NodeStatus(**{**vars(full), "components": (*(c for c in full.components if c.name != stopped.name), stopped)}),
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]), page(unhealthy(), WHEN))
