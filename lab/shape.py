"""The machines of a lab, and their inventory."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path

from lab.errors import LabError

PROJECT = Path(__file__).resolve().parents[1]
_ARCHITECTURE = "arm64" if platform.machine() == "aarch64" else "amd64"
GATEWAY = "192.168.1.1"
PREFIX_LENGTH = 24
SUITES = ("bookworm", "trixie")
"""Debian's suites for virtual machines, the newest last."""

# A node keeps its address when the lab grows.
_MASTERS = ("192.168.1.165", "192.168.1.168", "192.168.1.169")
_MINIONS = ("192.168.1.166", "192.168.1.167", *(str(IPv4Address("192.168.1.170") + n) for n in range(80)))


@dataclass(frozen=True)
class Node:
    """A machine of the lab: its host name and address."""

    name: str
    address: str


@dataclass(frozen=True)
class Shape:
    """The numbers of masters and minions; with a Debian `suite` they are virtual machines with its kernel."""

    masters: int = 1
    minions: int = 2
    suite: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.masters <= len(_MASTERS):
            raise LabError(f"--masters: must be 1 to {len(_MASTERS)} ({self.masters})")
        if not 0 <= self.minions <= len(_MINIONS):
            raise LabError(f"--minions: must be 0 to {len(_MINIONS)} ({self.minions})")

    @property
    def master_nodes(self) -> tuple[Node, ...]:
        names = ("master", *(f"master{n}" for n in range(2, self.masters + 1)))
        return tuple(map(Node, names, _MASTERS))

    @property
    def minion_nodes(self) -> tuple[Node, ...]:
        return tuple(map(Node, (f"minion{n}" for n in range(1, self.minions + 1)), _MINIONS))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.master_nodes + self.minion_nodes

    def node(self, name: str) -> Node:
        """Return the node of this name; raises LabError with all names if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise LabError(f"{name}: is not a machine of this lab; it has {', '.join(node.name for node in self.nodes)}")

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, file: Path) -> Shape | None:
        """Return the shape in `file`; None if the file is missing."""
        return cls(**json.loads(file.read_text())) if file.exists() else None


def write_inventory(shape: Shape, directory: Path) -> None:
    """Write the lab's own inventory, separate from the project's."""
    (directory / "inventory.py").write_text(_inventory_text(shape))
    keep_keys_in(directory / "pki", directory)


def keep_keys_in(state_directory: Path, directory: Path, **others: str) -> None:
    """Make runs with an inventory in `directory` keep their keys in `state_directory`, whatever the project's settings.

    They also get the dashboard that can be built everywhere, and the settings `others`. All other settings come from
    the project's group_data.
    """
    group_data = directory / "group_data"
    # In earlier versions this was a link to the project's folder.
    if group_data.is_symlink():
        group_data.unlink()
    group_data.mkdir(exist_ok=True)
    settings = {
        "state_dir": str(state_directory),
        "ssh_known_hosts_file": str(state_directory / "known_hosts"),
        "dashboard": "kube-web-view",
        **others,
    }
    (group_data / "all.py").write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))


def _inventory_text(shape: Shape) -> str:
    members = shape.nodes[: 3 if len(shape.nodes) >= 3 else 1]
    groups = {"etcd": members, "masters": shape.master_nodes, "minions": shape.minion_nodes}
    addresses = "".join(f'    "{node.name}": "{node.address}",\n' for node in shape.nodes)
    listing = "\n".join(
        f"{group} = [" + ", ".join(f'_hosts["{node.name}"]' for node in nodes) + "]" for group, nodes in groups.items()
    )
    return (
        f'"""The machines of the lab."""\n\n_arch = "{_ARCHITECTURE}"\n\n_addresses = {{\n{addresses}}}\n'
        "_hosts = {\n"
        '    name: (name, {"address": address, "ssh_hostname": address, "ssh_user": "root", "arch": _arch})\n'
        "    for name, address in _addresses.items()\n"
        f"}}\n\n{listing}\n"
    )
