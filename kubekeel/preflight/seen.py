"""The state of a host as a look observed it, and the form of a finding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network

from kubekeel.identity import Identity
from kubekeel.machine import Machine
from kubekeel.membership import Member, OnDisk
from kubekeel.replaced import Held
from kubekeel.settings.values import API_PORT


@dataclass(frozen=True)
class Listener:
    """A listening socket and its process; `ours` means a process of Kubekeel."""

    address: str
    port: int
    process: str
    ours: bool = False
    protocol: str = "tcp"


@dataclass(frozen=True)
class Tunnel:
    """A kernel device that occupies a UDP port; one that is `apart` shares the port only with similar devices."""

    device: str
    kind: str
    port: int
    number: int
    apart: bool = False


@dataclass(frozen=True)
class Route:
    """A route of the host; `gateway` is empty if it needs none."""

    network: IPv4Network
    device: str
    gateway: str = ""


@dataclass(frozen=True)
class KernelSetting:
    """A sysctl that a file on the host sets at boot, or when somebody applies all these files."""

    file: str
    key: str
    value: str


@dataclass(frozen=True)
class Room:
    """A folder's file system: MiB and inodes, total and free, its mount options, and its type.

    A `typeless` one does not store the type of directory entries. Inodes are 0 if it does not count them.
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
    """A file that changes a unit; `replaces` means that it sets the unit's command."""

    unit: str
    path: str
    replaces: bool


@dataclass(frozen=True)
class Chain:
    """A kernel chain that drops packets, by its policy or by a rule; the family is "iptables" if only that shows it."""

    hook: str
    family: str
    table: str
    name: str
    by: str = "policy"

    @property
    def label(self) -> str:
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True)
class Brought:
    """Files, programs and rules on a host that Kubekeel did not put there.

    `own_units` are the services that Kubekeel did write. `units` has the paths of others with the same names, by name.
    `others` are services of other programs that run containers. `filled` has one file of each folder that is not empty,
    `replaced` the existing files at paths that Kubekeel writes. `drops` are the chains that do not accept the pods'
    network. `firewalld` has its trusted sources, `ufw` its rules; None if it is not active.
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

    `disks`: free space by folder, in MiB. `systemd`: the version that runs, or 0.
    `sources`: the host's source address, by the address of each member of etcd. `no_route_to_services`: it has no route
    to an address of a service, not even a default route.
    `astray`: targets, by path, of links at FOLDERS that do not lead to a folder. `links`: targets of the links in its
    folder of binaries.
    `clock_off`: the seconds, at least, by which its clock is ahead of ours; negative if it is behind.
    `installed`: it has binaries of Kubekeel. `held_by`: another run that uses it.
    `etcd_takes_any_peer`: its etcd does not check the names of peers, as in earlier versions.
    `has_own_lease`: its flannel has its own user in etcd.
    `identity`: its record of its cluster. `nodes`: the Nodes that its API server lists. `issued`: a digest of a
    master's list of issued certificates.
    `etcd`: etcd's data there. `etcd_keys`: it has the keys of etcd's administrator. `members`: etcd's members from an
    answer with a quorum; empty without one. `no_members`: why a host with these keys does not know them.
    `late_settings`: sysctls in files that are read after Kubekeel's own.
    `leftovers`: marks of former parts. `balanced`: addresses behind its API balancer.
    `rooms`: file systems by folder. `read_only`: folders that are not writable. `off_path`: commands that are not on
    the login's PATH.
    `modules_gone`: the running kernel's modules were removed. `modules_lacking`: the `kernel_modules` that are neither
    loaded nor loadable. `clock_alone`: nothing synchronizes its clock.
    `held`: its binaries and images. `runs`: the running versions of etcd, containerd and kubelet, and the versions in
    a master's manifests; `stopped`: the installed versions of those three that do not run.
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
    no_members: str = ""
    late_settings: tuple[KernelSetting, ...] = ()
    nodes: frozenset[str] = frozenset()
    issued: str = ""
    leftovers: frozenset[str] = frozenset()
    held: Held = field(default_factory=Held)
    balanced: frozenset[str] = frozenset()
    runs: Mapping[str, str] = field(default_factory=dict)
    stopped: Mapping[str, str] = field(default_factory=dict)
    tunnels: tuple[Tunnel, ...] = ()
    rooms: Mapping[str, Room] = field(default_factory=dict)
    read_only: frozenset[str] = frozenset()
    off_path: frozenset[str] = frozenset()
    processors: int = 0
    kmsg: bool = True
    selinux: bool = False
    modules_gone: bool = False
    modules_lacking: frozenset[str] = frozenset()
    no_route_to_services: bool = False
    container: bool = False
    clock_alone: bool = False
    brought: Brought = field(default_factory=Brought)

    @property
    def is_bare(self) -> bool:
        """Whether nothing on the host shows that it was ever a node of a Kubekeel cluster."""
        return not (self.installed or self.identity.cluster)

    @property
    def serves_api(self) -> bool:
        """Whether an API server of Kubekeel listens on the host, whatever its present groups."""
        return any(listener.ours and listener.port == API_PORT for listener in self.listeners)


class Hindrance(Enum):
    """The reason why a look at a host failed, and the remedy."""

    AWAY = "is unreachable", "start it, or correct its ssh_hostname; --exclude leaves it out"
    HOST_KEY = "shows another host key", "find out why; if it was reinstalled, remove the old key from known_hosts"
    LOGIN = "refuses the login", "correct ssh_user and ssh_key, or add your public key to its authorized_keys"
    ROOT = (
        "does not give root rights",
        (
            "log in as root, or set _sudo = True and let ssh_user use sudo; where sudo asks for a password, set"
            " _sudo_password, and _temp_dir if /tmp is mounted noexec"
        ),
    )
    ALGORITHMS = (
        "has no algorithm in common with this machine",
        "let its sshd also offer older ones: KexAlgorithms curve25519-sha256, Ciphers aes256-ctr",
    )
    SHELL = (
        "has a login shell that is not compatible with sh",
        "give ssh_user another login shell: chsh -s /bin/sh USER",
    )
    SILENT = "does not answer commands", "log in by ssh, and find out why"


@dataclass(frozen=True)
class Unseen:
    """A host at which the look failed; `said` is the error, or the output instead of an answer."""

    hindrance: Hindrance
    said: str


Looks = Mapping[str, HostSeen | Unseen]
Arriving = Mapping[str, Mapping[str, int]]
"""The MiB that a run adds, by node and folder of DISKS."""

Finding = tuple[str, object, str]
"""The problem, the observed value, and the remedy."""


def listed(words: Iterable[str]) -> str:
    """Return words in one line, sorted."""
    return ", ".join(sorted(words))
