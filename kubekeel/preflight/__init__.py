"""Whether hosts are fit for the cluster of an inventory, judged from one look at each of them."""

from kubekeel.preflight.network import API_PORT
from kubekeel.preflight.seen import Arriving, Hindrance, HostSeen, KernelSetting, Listener, Looks, Route, Unseen
from kubekeel.preflight.system import COMMANDS, DISKS, FOLDERS, PACKAGE_MANAGERS, PACKAGES
from kubekeel.preflight.verdict import faults, in_use, members_seen, nodes_left, warnings

__all__ = [
    "API_PORT",
    "COMMANDS",
    "DISKS",
    "FOLDERS",
    "PACKAGES",
    "PACKAGE_MANAGERS",
    "Arriving",
    "Hindrance",
    "HostSeen",
    "KernelSetting",
    "Listener",
    "Looks",
    "Route",
    "Unseen",
    "faults",
    "in_use",
    "members_seen",
    "nodes_left",
    "warnings",
]
