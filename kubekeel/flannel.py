"""A node's flannel lease in etcd: its subnet of the pod network."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

from kubekeel.cluster import Cluster, Node


def hardware_address(address: str) -> str:
    """Return the MAC address of flannel's device on the node with this IPv4 address.

    It is locally administered and unique in the cluster, with the usual prefix of container networks.
    """
    return ":".join(("0a", "58", *(f"{octet:02x}" for octet in IPv4Address(address).packed)))


def lease(node: Node, cluster: Cluster) -> str:
    """Return a node's lease as its flanneld writes it."""
    fields: dict[str, object] = {
        "PublicIP": node.address,
        "PublicIPv6": None,
        "BackendType": cluster.flannel_backend,
    }
    if cluster.flannel_backend == "vxlan":
        fields["BackendData"] = {"VNI": 1, "VtepMAC": hardware_address(node.address)}
    return json.dumps(fields, separators=(",", ":"))
