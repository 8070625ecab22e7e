"""The status of a cluster: the observed state of its hosts, its problems and notes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

from cryptography import x509

from kubekeel import membership
from kubekeel.identity import VERSION
from kubekeel.pki import CONTROL

SERVES = "serves"
AS_DESCRIBED = "as described"
SNAPSHOT_PERIOD = 12 * 3600
"""The seconds between two snapshots on etcd's hosts: templates/systemd/etcd-snapshot.timer.j2."""


@dataclass(frozen=True)
class Component:
    """A part of a node; `version` is the catalogue's, None if the node has another version.

    `outdated` means that it was started before its files changed, `disabled` that it does not start at boot.
    """

    name: str
    state: str
    version: str | None = ""
    outdated: bool = False
    disabled: bool = False

    @property
    def is_healthy(self) -> bool:
        return self.state in (SERVES, AS_DESCRIBED)


@dataclass(frozen=True)
class Member:
    """etcd on a node; `size` is its database's, in bytes."""

    leads: bool
    size: int
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Certificate:
    """A certificate by its file; `days_left` is None if the file is not a certificate."""

    path: str
    days_left: int | None

    @property
    def name(self) -> str:
        """The short name, kubernetes/ca for `/etc/kubernetes/pki/ca.crt`."""
        return self.path.removeprefix("/etc/").replace("/pki/", "/").removesuffix(".crt")

    @property
    def is_authority(self) -> bool:
        return re.search(r"\bca$", self.name) is not None

    def ends_soon(self, days: int) -> bool:
        """Whether it expires in fewer than `days` days; for an authority, which takes more work, within a year."""
        return self.days_left is not None and 0 <= self.days_left < (365 if self.is_authority else days)


@dataclass(frozen=True)
class Space:
    """Memory, or a file system by its mount point: its size and free space, in bytes."""

    name: str
    size: int
    free: int

    @property
    def used_percent(self) -> int:
        return round(100 * (self.size - self.free) / self.size) if self.size else 0


@dataclass(frozen=True)
class NodeStatus:
    """The observed state of a node, or the reason why its host is `unreachable`.

    `roles` are its groups. `kubekeel_version` is the version of the last deploy to it. `members` are etcd's members, if
    a quorum answers there. `snapshot_age` is the age of the newest snapshot, `timer_age` the age of the timer that
    takes them, in seconds; `snapshot_failed` means that the last snapshot failed. `restart_pending` means that a
    requested restart of the host is not finished. `drained` are the nodes that take no pods during a change, as
    a master knows them.
    """

    name: str
    address: str
    unreachable: str = ""
    kubekeel_version: str = ""
    components: tuple[Component, ...] = ()
    member: Member | None = None
    members: tuple[membership.Member, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    snapshot_age: float | None = None
    timer_age: float | None = None
    snapshot_failed: bool = False
    differing: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    memory: Space | None = None
    disks: tuple[Space, ...] = ()
    restart_pending: bool = False
    drained: tuple[str, ...] = ()


@dataclass(frozen=True)
class Status:
    """A cluster with its nodes; `kept` are the certificates of the control machine.

    `etcd` has the addresses, by name, of the hosts that should be members of etcd. `nodes_left` has a line for each
    node that the inventory lacks, `upgrade` is the progress of an unfinished upgrade. `generations` has the numbers of
    the keys of each root; more than one during a rotation. `maintenance` has the hosts in maintenance.
    """

    cluster: str
    kubernetes_version: str
    renew_before_days: int
    nodes: tuple[NodeStatus, ...]
    kept: tuple[Certificate, ...] = ()
    nodes_left: tuple[str, ...] = ()
    upgrade: str = ""
    etcd: Mapping[str, str] = field(default_factory=dict)
    kubekeel_version: str = VERSION
    generations: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    maintenance: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[membership.Member, ...]:
        """etcd's members from an answer with a quorum; empty without one."""
        return next((node.members for node in self.nodes if node.members), ())

    @property
    def healthy(self) -> bool:
        return not any(self.problems())

    def problems(self) -> Iterator[str]:
        """Yield the problems that make the cluster unhealthy, one line each."""
        for node in self.nodes:
            if node.unreachable:
                yield f"{node.name}: is unreachable ({node.unreachable}); start it, or check its network"
            for component in node.components:
                if not component.is_healthy:
                    yield f"{node.name}: {_problem(component)}"
            for alarm in node.member.alarms if node.member else ():
                yield f"{node.name}: etcd has an alarm ({alarm}); {_alarm_remedy(alarm, node.name)}"
            yield from _snapshot_problems(node)
        for problem in membership.problems(self.etcd, self.members):
            if problem.partition(":")[0] not in self.maintenance:
                yield problem
        for place, certificate in self._certificates():
            if certificate.days_left is None:
                yield f"{place}: is not a certificate ({certificate.path}); remove it, then deploy again"
            elif certificate.days_left < 0:
                ago = f"{-certificate.days_left} days ago"
                yield f"{place}: has expired ({certificate.path}, {ago}); {_renewal(certificate)}"

    def notes(self) -> Iterator[str]:
        """Yield the flaws that a deploy mends or tolerates, and the nodes that the inventory lacks, one line each."""
        if self.upgrade:
            yield f"{self.upgrade}; deploy again to continue it"
        yield from self.nodes_left
        for name in sorted({name for node in self.nodes for name in node.drained}):
            yield f"{name}: takes no pods during a change; if no run is changing it, deploy again"
        for node in self.nodes:
            if node.restart_pending:
                remedy = "if no run is restarting it, run actions/restart_nodes.py again with the same arguments"
                yield f"{node.name}: its restart is not finished; {remedy}"
        for name in self.maintenance:
            yield f"{name}: is in maintenance, so runs leave it out; end that in the inventory, then deploy"
        for root, numbers in self.generations.items():
            if len(numbers) > 1:
                seen, remedy = " and ".join(map(str, numbers)), f"run actions/rotate.py --data what={root} again"
                yield f"{CONTROL}: a rotation of {root} is not finished ({seen} are in use); {remedy}"
        yield from membership.warnings(self.etcd, self.members)
        for node in self.nodes:
            if node.differing:
                seen = ", ".join(node.differing[:3]) + (", ..." if len(node.differing) > 3 else "")
                count = len(node.differing)
                yield f"{node.name}: {count} of its files differ from their description ({seen}); deploy again"
            for component in node.components:
                if component.outdated:
                    yield f"{node.name}: {component.name} is older than its files; deploy again"
                if component.disabled:
                    yield f"{node.name}: {component.name} does not start at boot (disabled); deploy again"
        for place, certificate in self._certificates():
            if certificate.ends_soon(self.renew_before_days):
                yield f"{place}: expires in {certificate.days_left} days ({certificate.path}); {_renewal(certificate)}"

    def as_json(self) -> str:
        found = {"healthy": self.healthy, "problems": [*self.problems()], "notes": [*self.notes()]}
        return json.dumps({**found, **asdict(self, dict_factory=_with_json_names)}, indent=2)

    def _certificates(self) -> Iterator[tuple[str, Certificate]]:
        for certificate in self.kept:
            yield CONTROL, certificate
        for node in self.nodes:
            for certificate in node.certificates:
                yield node.name, certificate


def _with_json_names(fields: Iterable[tuple[str, object]]) -> dict[str, object]:
    # Scripts of users read this name.
    return {{"unreachable": "unreached"}.get(name, name): value for name, value in fields}


def _snapshot_problems(node: NodeStatus) -> Iterator[str]:
    remedy = "see `journalctl -u etcd-snapshot` there, check that its disk has room, then deploy again"
    since = [age for age in (node.snapshot_age, node.timer_age) if age is not None]
    if node.snapshot_failed:
        yield f"{node.name}: the last snapshot of etcd failed; {remedy}"
    elif since and min(since) > 2 * SNAPSHOT_PERIOD:
        seen = "none" if node.snapshot_age is None else f"the newest {node.snapshot_age / 3600:.0f} h ago"
        yield f"{node.name}: etcd has no snapshot of the last {2 * SNAPSHOT_PERIOD // 3600} h ({seen}); {remedy}"


def _problem(component: Component) -> str:
    if component.name in KEPT:
        return f"is not as described ({component.name}); deploy again"
    return f"{component.name} does not serve ({component.state}); {_remedy(component)}"


def _remedy(component: Component) -> str:
    if component.name in UNITS:
        return f"see `journalctl -u {component.name}` there, or deploy again"
    return "see `crictl ps --all` and `crictl logs` there, or deploy again"


def _alarm_remedy(alarm: str, name: str) -> str:
    if alarm == "NOSPACE":
        return "delete the objects that fill it, then run actions/defragment.py"
    return f"its data differ from the others'; run actions/remove_member.py --data member={name}, then deploy"


def _renewal(certificate: Certificate) -> str:
    if certificate.is_authority:
        return "replace it: actions/rotate.py, see docs/security.md"
    return "deploy again to renew it"


KEPT = ("kernel settings", "binaries", "snapshot timer", "images")
"""Components that do not run: a host has them as described, or not."""

UNITS = (
    *("etcd", "flanneld", "containerd", "api-balancer", "kubelet", "kube-proxy", "kube-network-policies"),
    *("kubekeel-heal", "kubekeel-vip", "kubekeel-etcd-metrics", "kubekeel-kube-proxy-metrics"),
)
"""Components that systemd runs."""


def member(endpoint_status: str, alarms: Iterable[str]) -> Member | None:
    """Return a member from the output of `etcdctl endpoint status -w json` and `alarm list`; None without an answer."""
    # Without an answer, etcdctl prints "null".
    found = json.loads(endpoint_status or "null")
    if not found:
        return None
    status = found[0]["Status"]
    own = f"{status['header']['member_id']:x}"
    return Member(
        leads=status["leader"] == status["header"]["member_id"],
        size=status["dbSize"],
        alarms=tuple(name for who, name in membership.alarms(alarms) if who == own),
    )


def certificate(path: str, pem: bytes, now: datetime) -> Certificate:
    """Return the certificate in a file with this content."""
    try:
        end = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError:
        return Certificate(path, None)
    return Certificate(path, (end - now).days)


def memory(lines: Iterable[str]) -> Space | None:
    """Return the memory in lines of /proc/meminfo; None if they lack it."""
    found = {words[0]: int(words[1]) * 1024 for words in map(str.split, lines)}
    total, available = found.get("MemTotal:"), found.get("MemAvailable:")
    return Space("memory", total, available) if total is not None and available is not None else None


def disks(lines: Iterable[str]) -> tuple[Space, ...]:
    """Return the file systems in the output of `df -k --output=size,avail,target` without its heading, each once."""
    rows = dict.fromkeys(tuple(line.split(None, 2)) for line in lines)
    return tuple(Space(place, int(size) * 1024, int(free) * 1024) for size, free, place in rows)
