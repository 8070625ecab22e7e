"""etcd's members: their data, their list, and their start as a new cluster."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Collection, Generator, Iterable
from functools import cache
from threading import Lock

from gevent.pool import Group
from paramiko import SSHException
from pyinfra import host, state
from pyinfra.api import FactBase, StringCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State, StateStage

from kubekeel.cluster import Cluster, Node, endpoints
from kubekeel.differences import Difference
from kubekeel.files import Tree
from kubekeel.membership import FOUNDING, Member, OnDisk, hindrances, members
from kubekeel.render import etcd_first_start
from kubekeel.service import Service
from kubekeel.shell import script
from operations.converge import Look, RoleSeen, compare, converge, put, restarted, stale
from operations.etcd import etcdctl
from operations.look import differs, see
from operations.previous import previous
from operations.wait import until
from run.ask import ask
from run.inventory import hosts_of, node_of

FIRST_START = "/etc/etcd/first-start.conf"
PREVIOUS = "/etc/etcd/previous"
"""The folder of the files that a serving member ran with, until it serves with its new ones."""
TIMER = "etcd-snapshot.timer"

# A path that cannot be read does not count as blank.
_BLANK = """for place in /var/lib/etcd /var/lib/etcd/member; do
    [ ! -L $place ] || [ -d $place ] || exit 1
  done
  [ ! -e /var/lib/etcd/member ] ||
  { found=$(find -H /var/lib/etcd/member -type f -print -quit) && [ -z "$found" ]; }"""
TIMED = f"systemctl is-active --quiet {TIMER} && systemctl is-enabled --quiet {TIMER}"
_START_TIMER = f"""
set -e
systemctl daemon-reload
systemctl enable --quiet {TIMER}
systemctl restart {TIMER}
"""

ON_DISK = f"""
( {_BLANK} ) 2>/dev/null || echo data
[ -e {FIRST_START} ] && echo "beginning $(base64 -w 0 {FIRST_START})"
true
"""
_PATIENCE = 30
_CHANGE_PATIENCE = 120


def promote(node: Node, cluster: Cluster) -> str:
    """Return a shell command: the other members make the node's member a voter, if it is a learner with all data."""
    others = endpoints(other for other in cluster.etcd if other != node)
    if not others:
        return ""
    learners = f"""awk -F ', ' '$4 == "{node.peer_url}" && $6 == "true" {{print $1}}'"""
    return f"""for learner in $({etcdctl(others)} member list | {learners}); do
  {etcdctl(others)} member promote $learner
done"""


def read_on_disk(lines: Iterable[str]) -> OnDisk:
    """Return the output of `ON_DISK`, parsed."""
    found = dict(line.partition(" ")[::2] for line in lines)
    return OnDisk("data" in found, b64decode(found.get("beginning", "")).decode())


class Disk(FactBase[OnDisk]):
    """etcd's data on a host."""

    @staticmethod
    def default() -> OnDisk:
        return read_on_disk(())

    def command(self) -> str:
        return ON_DISK

    def process(self, output: Iterable[str]) -> OnDisk:
        return read_on_disk(output)


class Members(FactBase[tuple[Member, ...]]):
    """The members of etcd with their health, as a quorum knows them; empty if no quorum answers in time."""

    default = tuple

    def command(self, endpoints: str, patience: int = _PATIENCE) -> str:
        ask_all = etcdctl(endpoints)
        return f"""
end=$(( $(date +%s) + {patience} ))
until members=$({ask_all} member list -w json 2>/dev/null); do
  [ "$(date +%s)" -lt $end ] || exit 0
  sleep 1
done
echo "$members"
{ask_all} endpoint health --cluster -w json 2>/dev/null
true
"""

    def process(self, output: Iterable[str]) -> tuple[Member, ...]:
        listed, *health = output
        return members(listed, "".join(health))


_lock = Lock()


def on_disks(state: State, cluster: Cluster) -> dict[str, OnDisk | None]:
    """Return etcd's data on each desired member's host, by name; None if this run does not reach the host."""
    with _lock:
        # Cached before the first host changes: the others must not take that host for an old member.
        return _on_disks(state, state.current_stage, cluster)


@cache
def _on_disks(state: State, stage: StateStage, cluster: Cluster) -> dict[str, OnDisk | None]:  # noqa: ARG001
    reached = {node_of(each): each for each in hosts_of(state) if each.connected}
    present = [node for node in cluster.etcd if node in reached]
    seen = dict(zip(present, Group().map(lambda node: _on_disk(reached[node]), present), strict=True))
    return {node.name: seen.get(node) for node in cluster.etcd}


def _on_disk(host: Host) -> OnDisk | None:
    try:
        succeeded, output = ask(host, ON_DISK)
    except (OSError, SSHException, EOFError):
        return None
    return read_on_disk(output.stdout_lines) if succeeded else None


@operation()
def member(
    service: Service, tools: Tree, cluster: Cluster, kept: Collection[str] = ()
) -> Generator[StringCommand, None, None]:
    """Bring this host's etcd and its tools to their described state, as `converge` with `roll` would.

    A host without data starts the cluster together with the others if none of them has data; otherwise this only
    writes its files, and `join` does the rest. Of a serving member, this keeps the previous files at the paths `kept`.
    """
    seen = see(
        host,
        Look,
        paths=[*tools, *service.files, PREVIOUS],
        units=[service.unit],
        conditions={service.unit: service.ready, "blank": _BLANK, "timer": TIMED},
    )
    assert isinstance(seen, RoleSeen)
    changed = compare([service], tools, seen)
    if "timer" not in seen.holds:
        differs(host, [Difference(f"{TIMER} does not run", down=True)])
    unit = seen.units[service.unit]
    current = unit.active and not stale(service, seen)
    # A run was interrupted before it dropped them; or etcd's data may become too new for them.
    outdated = PREVIOUS in seen.paths and ((current and unit.ready) or not kept)
    if outdated:
        yield StringCommand(f"rm -rf {PREVIOUS}")
    if not changed and seen.holds == {service.unit, "timer"} and unit.enabled and current:
        if not outdated:
            host.noop("as described")
        return
    there = [path for path in kept if path in changed and path in seen.paths and seen.paths[path].kind != "d"]
    # etcd reads hot files again by itself, so no restart would drop their previous ones.
    if there and unit.ready and restarted([service], tools, seen):
        yield StringCommand(previous("keep", PREVIOUS, there))
    first_start = etcd_first_start(cluster, FOUNDING, cluster.etcd_initial_cluster)
    if "blank" not in seen.holds:
        yield from converge._inner(services=[service], files=tools, roll=True)
    elif not hindrances(on_disks(state, cluster), first_start.content.decode()):
        yield from converge._inner(services=[service], files={**tools, FIRST_START: first_start})
    else:
        yield put({**changed, **service.files})
    if "timer" not in seen.holds or any("/etcd-snapshot." in path for path in changed):
        yield StringCommand(_START_TIMER)


def add(node: Node, by: str) -> StringCommand:
    """Return the command that adds the node as a learner, unless etcd lists it; `by` is an etcdctl of other members."""
    change = f"add {node.name} --learner --peer-urls={node.peer_url}"
    return _change(change, f"""echo "$members" | grep -q ', {node.peer_url},'""", by)


def remove(number: str, by: str) -> StringCommand:
    """Return the command that removes the member with this ID, if etcd lists it."""
    return _change(f"remove {number}", f"""! echo "$members" | grep -q '^{number},'""", by)


def disarm(by: str) -> StringCommand:
    """Return the command that clears the alarms of members that have left, unless a present member is corrupt.

    etcd keeps such alarms, and takes no writes. etcdctl clears all at once; etcd raises the one for lack of room again.
    """
    complaint = f"{host.name}: etcd did not clear the alarm of a member that has left"
    condition = script("etcd/disarm.sh", etcdctl=[by])
    return StringCommand(until(condition, _CHANGE_PATIENCE, complaint, f"{by} alarm list"))


def _change(change: str, done: str, by: str) -> StringCommand:
    # A member that closes its connection to an unreachable host does not answer for some seconds, and may lose its
    # lead: etcd may make the change although the command fails. So this looks before each try, and after the last.
    condition = (
        f"{{ members=$({by} member list) && {done}; }} || {{ {by} --command-timeout=20s member {change}; false; }}"
    )
    explain = f"{by} member list; {by} endpoint health --cluster"
    complaint = f"{host.name}: etcd did not change its members, member {change}"
    return StringCommand(until(condition, _CHANGE_PATIENCE, complaint, explain))
