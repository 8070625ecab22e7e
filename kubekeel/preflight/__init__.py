"""Whether hosts are fit for the cluster of an inventory, judged from one look at each of them."""

from kubekeel.preflight.foreign import CNI, FILLED, OTHERS, UNITS
from kubekeel.preflight.seen import (
    Arriving,
    Brought,
    Chain,
    DropIn,
    Hindrance,
    HostSeen,
    KernelSetting,
    Listener,
    Looks,
    Room,
    Route,
    Tunnel,
    Unseen,
)
from kubekeel.preflight.system import COMMANDS, DISKS, FOLDERS, NAMED_OTHERWISE, PACKAGE_MANAGERS, PACKAGES, ROOMS
from kubekeel.preflight.verdict import faults, in_use, members_seen, nodes_left, warnings

__all__ = [
    "CNI",
    "COMMANDS",
    "DISKS",
    "FILLED",
    "FOLDERS",
    "NAMED_OTHERWISE",
    "OTHERS",
    "PACKAGES",
    "PACKAGE_MANAGERS",
    "ROOMS",
    "UNITS",
    "Arriving",
    "Brought",
    "Chain",
    "DropIn",
    "Hindrance",
    "HostSeen",
    "KernelSetting",
    "Listener",
    "Looks",
    "Room",
    "Route",
    "Tunnel",
    "Unseen",
    "faults",
    "in_use",
    "members_seen",
    "nodes_left",
    "warnings",
]
