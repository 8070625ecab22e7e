"""What a look finds of a host, and how a finding is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network

from kubekeel.identity import Identity
from kubekeel.machine import Machine
from kubekeel.membership import Member, OnDisk
from kubekeel.replaced import Held


@dataclass(frozen=True)
class Listener:
    """A socket that takes what is sent to it, and its process; `ours` is one that Kubekeel brought here."""

    address: str
    port: int
    process: str
    ours: bool = False
    protocol: str = "tcp"


@dataclass(frozen=True)
class Tunnel:
    """A device of the kernel's that holds a port of UDP; one `apart` shares it with none that is not like it."""

    device: str
    kind: str
    port: int
    number: int
    apart: bool = False


@dataclass(frozen=True)
class Route:
    """A route of the host; `gateway` is empty where it needs none."""

    network: IPv4Network
    device: str
    gateway: str = ""


@dataclass(frozen=True)
class KernelSetting:
    """What a file of the host sets when that boots, or when somebody applies all such files."""

    file: str
    key: str
    value: str


@dataclass(frozen=True)
class Room:
    """The file system that a folder is on, or will be: MiB and inodes, all and free, its mount's options, and its type.

    A `typeless` one does not say of its entries what they are. Of inodes there are 0 where they are not counted.
    """

    size: int
    free: int
    inodes: int
    free_inodes: int
    options: frozenset[str]
    kind: str
    typeless: bool = False


@dataclass(frozen=True)
class DropIn:
    """A file that changes a unit; one that `replaces` sets what the unit starts."""

    unit: str
    path: str
    replaces: bool


@dataclass(frozen=True)
class Chain:
    """A chain of the kernel's whose policy is to drop; its family is "iptables" where that alone knows it."""

    hook: str
    family: str
    table: str
    name: str

    @property
    def told(self) -> str:
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True)
class Brought:
    """What a host has that Kubekeel did not bring.

    `own_units` are those services that Kubekeel writes which are its own there, `units` has the paths of those that are
    not, `others` are services of other programs that run containers. `filled` has a file of each folder that holds
    any, whosever it is, and `replaced` are the files there at paths that Kubekeel writes. `drops` are the chains that
    accept nothing of the pods' network. `firewalld` has the sources that it trusts, `ufw` its rules; None is one that
    is not active.
    """

    own_units: frozenset[str] = frozenset()
    units: Mapping[str, str] = field(default_factory=dict)
    drop_ins: tuple[DropIn, ...] = ()
    others: frozenset[str] = frozenset()
    filled: Mapping[str, str] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()
    cni: frozenset[str] = frozenset()
    mounts: frozenset[str] = frozenset()
    user_without_group: bool = False
    devices: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    drops: tuple[Chain, ...] = ()
    firewalld: frozenset[str] | None = None
    ufw: frozenset[str] | None = None


@dataclass(frozen=True)
class HostSeen:
    """A host as a look found it.

    `disks` is the free room by folder, in MiB; `systemd` is the version of the one that runs, or 0.
    `sources` has the address it would send from, by the address of a member of etcd.
    `astray` has what a link in the place of one of FOLDERS leads to where that is no folder, by its path.
    `links` are those of its folder of binaries, by name.
    `clock_off` is by how many seconds at least its clock goes ahead of ours, or behind it. `installed` says that it
    has binaries of Kubekeel, `held_by` names another run that is at work on it. `etcd_takes_any_peer` says that its
    etcd does not ask other members for their name, as earlier versions did not. `has_own_lease` says that its flannel
    has a user of its own in etcd. `identity` is what it shows of the
    cluster it belongs to, and `nodes` are those that its API server knows. `etcd` is what it holds of etcd,
    `etcd_keys` says that it has those of etcd's administrator, and `members` are those that a quorum knows, asked on
    this host: none where it does not answer there. `late_settings` are in files that are read after Kubekeel's own.
    `leftovers` are the marks there of parts that it is no longer to have, `balanced` the addresses that its balancer
    leads to. `rooms` are by folder, `read_only` the folders that cannot be written to, `off_path` the commands that are
    there and not on the login's PATH. `modules_gone` says that those of the kernel that runs are no longer there,
    `modules_lacking` are those of QUEUE_MODULES that it has not loaded and cannot load, `clock_alone` says that nothing
    keeps its clock right. `held` are its binaries and images. `runs` are the versions that run there: of etcd,
    containerd and kubelet, and of a master's pods those that its manifests name.
    """

    machine: Machine
    kernel: str
    system: str
    systemd: int
    controllers: frozenset[str]
    commands: frozenset[str]
    swaps: tuple[str, ...]
    disks: Mapping[str, int]
    listeners: tuple[Listener, ...]
    clock_off: float
    machine_id: str
    product_uuid: str
    addresses: frozenset[str]
    routes: tuple[Route, ...]
    sources: Mapping[str, str]
    installed: bool
    held_by: str = ""
    astray: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    etcd_takes_any_peer: bool = False
    has_own_lease: bool = False
    identity: Identity = field(default_factory=Identity)
    etcd: OnDisk = field(default_factory=lambda: OnDisk(data=False))
    etcd_keys: bool = False
    members: tuple[Member, ...] = ()
    late_settings: tuple[KernelSetting, ...] = ()
    nodes: frozenset[str] = frozenset()
    leftovers: frozenset[str] = frozenset()
    held: Held = field(default_factory=Held)
    balanced: frozenset[str] = frozenset()
    runs: Mapping[str, str] = field(default_factory=dict)
    tunnels: tuple[Tunnel, ...] = ()
    rooms: Mapping[str, Room] = field(default_factory=dict)
    read_only: frozenset[str] = frozenset()
    off_path: frozenset[str] = frozenset()
    processors: int = 0
    kmsg: bool = True
    selinux: bool = False
    modules_gone: bool = False
    modules_lacking: frozenset[str] = frozenset()
    clock_alone: bool = False
    brought: Brought = field(default_factory=Brought)

    @property
    def is_bare(self) -> bool:
        """Whether nothing on the host shows that it has ever been a node of a cluster of Kubekeel's."""
        return not (self.installed or self.identity.cluster)


class Hindrance(Enum):
    """Why a host could not be looked at, and what to do."""

    AWAY = "cannot be reached", "start it, or correct its ssh_hostname; --exclude leaves it out"
    HOST_KEY = "shows another host key", "find out why; if it was reinstalled, remove the old key from known_hosts"
    LOGIN = "refuses the login", "correct ssh_user and ssh_key, or make your public key known to it"
    ROOT = (
        "gives no root rights",
        (
            "log in as root, or set _sudo = True and let ssh_user use sudo; where sudo asks for a password and /tmp is"
            " mounted noexec, set _temp_dir to another folder, too"
        ),
    )
    ALGORITHMS = (
        "has no algorithm in common with this machine",
        "let its sshd offer one of each kind that is older: KexAlgorithms curve25519-sha256, Ciphers aes256-ctr",
    )
    SHELL = "has a login shell that does not take commands as sh does", "give ssh_user another: chsh -s /bin/sh USER"
    SILENT = "does not answer as a host does", "log in by ssh, and look what is wrong with it"


@dataclass(frozen=True)
class Unseen:
    """A host that could not be looked at; `said` is what there was instead of an answer."""

    hindrance: Hindrance
    said: str


Looks = Mapping[str, HostSeen | Unseen]
Arriving = Mapping[str, Mapping[str, int]]
"""The MiB that a run brings, by node and folder of DISKS."""

Finding = tuple[str, object, str]
"""What is wrong, the value seen, and what to do."""


def listed(words: Iterable[str]) -> str:
    """Words in one line, in the order of the alphabet."""
    return ", ".join(sorted(words))
