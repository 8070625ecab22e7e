"""What flannel keeps of a node in etcd: its lease of a subnet of the pod network."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

from kubekeel.cluster import Cluster, Node


def hardware_address(address: str) -> str:
    """The one of flannel's device on the node with this address.

    A locally administered one, no other node's; it begins as those do that container networks make.
    """
    return ":".join(("0a", "58", *(f"{octet:02x}" for octet in IPv4Address(address).packed)))


def lease(node: Node, cluster: Cluster) -> str:
    """A node's lease, as its flanneld writes it."""
    told: dict[str, object] = {
        "PublicIP": node.address,
        "PublicIPv6": None,
        "BackendType": cluster.flannel_backend,
    }
    if cluster.flannel_backend == "vxlan":
        told["BackendData"] = {"VNI": 1, "VtepMAC": hardware_address(node.address)}
    return json.dumps(told, separators=(",", ":"))
