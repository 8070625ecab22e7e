"""The lab's network: a bridge with a gateway in the keeper's namespace, and a cable to each machine."""

from __future__ import annotations

import subprocess

from lab.keeper import Keeper
from lab.shape import GATEWAY, PREFIX_LENGTH, Node

_BRIDGE = "lan"


def lay(keeper: Keeper, prefix_length: int = PREFIX_LENGTH) -> None:
    """Make the bridge, unless it exists."""
    if _has(keeper, "link", "show", _BRIDGE):
        return
    keeper.call("ip", "link", "add", _BRIDGE, "type", "bridge")
    keeper.call("ip", "address", "add", f"{GATEWAY}/{prefix_length}", "dev", _BRIDGE)
    keeper.call("ip", "link", "set", _BRIDGE, "up")


def plug_in(keeper: Keeper, node: Node, prefix_length: int = PREFIX_LENGTH) -> str:
    """Make a network namespace for the machine, with its address on eth0; return its path inside the keeper."""
    unplug(keeper, node)
    name = node.name
    keeper.call("ip", "netns", "add", name)
    keeper.call("ip", "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    keeper.call("ip", "link", "set", "dev", name, "master", _BRIDGE, "up")
    keeper.call("ip", "-n", name, "link", "set", "lo", "up")
    keeper.call("ip", "-n", name, "address", "add", f"{node.address}/{prefix_length}", "dev", "eth0")
    keeper.call("ip", "-n", name, "link", "set", "eth0", "up")
    keeper.call("ip", "-n", name, "route", "add", "default", "via", GATEWAY)
    return f"/run/netns/{name}"


def lay_cable(keeper: Keeper, node: Node) -> str:
    """Make a tap device for a virtual machine's network card; return its name."""
    unplug(keeper, node)
    keeper.call("ip", "tuntap", "add", "dev", node.name, "mode", "tap")
    keeper.call("ip", "link", "set", "dev", node.name, "master", _BRIDGE, "up")
    return node.name


def unplug(keeper: Keeper, node: Node) -> None:
    """Remove the machine's network, if it has one."""
    if _has(keeper, "link", "show", "dev", node.name):
        keeper.call("ip", "link", "delete", "dev", node.name)
    if _has(keeper, "netns", "pids", node.name):
        keeper.call("ip", "netns", "delete", node.name)


def _has(keeper: Keeper, *query: str) -> bool:
    return subprocess.run(keeper.inside(["ip", *query]), capture_output=True).returncode == 0
