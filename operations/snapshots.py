"""New snapshots of etcd: for a backup, and before risky changes."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Mapping
from dataclasses import dataclass

from gevent.pool import Group
from paramiko import SSHException
from pyinfra import host, inventory, logger, state
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel.backup import BackupError
from kubekeel.cluster import Node
from kubekeel.differences import Difference
from kubekeel.membership import CORRUPT
from kubekeel.preflight import HostSeen
from kubekeel.shell import script
from kubekeel.snapshot import MemberSeen, read, serving, to_rescue, upgraded
from kubekeel.status import SNAPSHOT_PERIOD
from operations.converge import Look
from operations.etcd import ETCDCTL, etcdctl
from operations.look import differs, see
from operations.members import TIMER, on_disks
from operations.preflight import looks
from run import choices
from run.ask import ask
from run.inventory import cluster_of, hosts_of, node_of, runs, supply_of
from run.waits import show_wait

_SNAPSHOTS = "/var/lib/etcd-snapshots"
_TAKE = f"""
systemctl start etcd-snapshot.service && find -H {_SNAPSHOTS} -maxdepth 1 -name '*.db' | sort | tail -n 1 && exit
journalctl -u etcd-snapshot.service -n 5 --no-pager -o cat >&2
exit 1
"""
_MINUTES = 2 * SNAPSHOT_PERIOD // 60
# As status judges it: a host whose timer is that young needs none yet, and one without a timer takes none.
_RECENT = f"""
timer=/etc/systemd/system/{TIMER}
[ -e $timer ] || exit 0
! systemctl is-failed --quiet etcd-snapshot.service || exit 1
young="-type f -mmin -{_MINUTES} -print -quit"
[ -n "$(find -H {_SNAPSHOTS} -name '[!.]*.db' $young; find $timer $young)" ]
"""
# Longer than its script waits for etcd.
_PATIENCE = 4 * 3600


@dataclass(frozen=True)
class Taken:
    """A snapshot on a host."""

    host: Host
    path: str


@operation()
def snapshot(reason: str) -> Generator[FunctionCommand, None, None]:
    """Take a snapshot of any healthy member of the run, before `reason`; fails if no member gives one.

    This does nothing while no member has data.
    """
    if all(disk and not disk.data for disk in on_disks(state, cluster_of(inventory)).values()):
        host.noop("no member has data yet")
    else:
        yield taking(reason)


@operation()
def catch_up() -> Generator[StringCommand, None, None]:
    """Take a snapshot on this host if its last one failed, or is older than two periods of the timer."""
    seen = see(host, Look, paths=[], units=[], conditions={"recent snapshot": _RECENT})
    if "recent snapshot" in seen.holds:
        host.noop("has a recent snapshot")
        return
    differs(host, [Difference("has no recent snapshot of etcd", down=True)])
    yield StringCommand(_TAKE)


def taking(reason: str, without: str = "") -> FunctionCommand:
    """Return the command that takes a snapshot, before `reason`, of any healthy member but that on host `without`."""
    return FunctionCommand(_snapshot, (reason, without), {})


def _snapshot(state: State, host: Host, reason: str, without: str = "") -> bool:
    try:
        taken = _of_serving(state, _look(state, without))
    except BackupError as error:
        for fault in error.faults:
            logger.error(fault)
        logger.error(
            f"{node_of(host).name}: has to wait for a snapshot of etcd ({reason}); repair that, then run again"
        )
        return False
    logger.info(f"{taken.host.print_prefix}took {taken.path}, before {reason}")
    return True


def upgrade(state: State) -> str:
    """Return the components that this run replaces by another version on its hosts; empty if none.

    Empty for a restore, too: it gives the former data up.
    """
    if runs(choices.RESTORE):
        return ""
    links = {name: look.links for name, look in looks(state).items() if isinstance(look, HostSeen)}
    return ", ".join(upgraded(cluster_of(state.inventory), supply_of(state.inventory), links))


def newest(state: State) -> Taken:
    """Take a snapshot of a healthy member or, without one, from a member's disk. Raises BackupError."""
    seen = _look(state)
    return _of_serving(state, seen) if serving(seen) else _of_disk(state, to_rescue(seen))


def _members(state: State) -> dict[Node, Host]:
    return {node_of(each): each for each in hosts_of(state) if each.connected and "etcd" in node_of(each).roles}


def _look(state: State, without: str = "") -> Mapping[Node, MemberSeen]:
    """Return the state of the reachable members but that on host `without`."""
    members = {node: host for node, host in _members(state).items() if node.name != without}
    found = zip(members, Group().map(_look_at, members.values()), strict=True)
    return {node: seen for node, seen in found if seen is not None}


def _look_at(host: Host) -> MemberSeen | None:
    others = (etcdctl(node.client_url) for node in cluster_of(host.inventory).etcd if node != node_of(host))
    try:
        _, output = ask(host, f"set -- {shlex.join(others)}\n{script('etcd/serving.sh', own=[ETCDCTL])}")
    except (OSError, SSHException, EOFError):
        return None
    return read(output.stdout_lines)


def _of_serving(state: State, seen: Mapping[Node, MemberSeen]) -> Taken:
    members, refusals = _members(state), []
    for node in serving(seen):
        if CORRUPT in seen[node].alarms:
            logger.warning(
                f"{node.name}: has the alarm {CORRUPT}; its snapshot may differ from the other members' data"
            )
        taken, lines = _run(members[node], _TAKE)
        if taken:
            return Taken(members[node], lines[-1])
        refusals.append(f"{node.name}: could not take a snapshot ({' '.join(lines)})")
    names = ", ".join(node.name for node in seen) or "no host of it is in this run"
    raise BackupError(*refusals or [f"etcd: no quorum answers ({names}); start its members, and leave --limit out"])


def _of_disk(state: State, node: Node) -> Taken:
    logger.warning(
        f"{node.name}: etcd has no quorum; this run stops etcd here and takes a snapshot of the data on disk"
    )
    host = _members(state)[node]
    taken, lines = _run(host, script("etcd/rescue-snapshot.sh"))
    if not taken:
        raise BackupError(f"{node.name}: could not take a snapshot ({' '.join(lines)}); --limit chooses another member")
    return Taken(host, lines[-1])


def _run(host: Host, script: str) -> tuple[bool, list[str]]:
    try:
        with show_wait(host, "its snapshot of etcd"):
            succeeded, output = ask(host, script, _PATIENCE)
    except (OSError, SSHException, EOFError) as error:
        return False, [f"{type(error).__name__} {error}"]
    return succeeded, output.stdout_lines if succeeded else output.stderr_lines
