"""etcd's members: the comparison with the inventory, and the joining and leaving of hosts, from observed states."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from kubekeel.cluster import Node, quorum

FOUNDING, JOINING, RESTORING = "founding", "joining", "restoring"
"""The steps of a member that has never served."""


class Refused(Exception):
    """The refusal of a step that would harm etcd, with the problem and the remedy."""


@dataclass(frozen=True)
class OnDisk:
    """etcd's data on a host; `beginning` is the content of its first-start.conf, gone once the member has served."""

    data: bool
    beginning: str = ""

    @property
    def step(self) -> str:
        """FOUNDING, JOINING or RESTORING; empty for a member that has served, and if nothing was begun."""
        return self.beginning.partition("\n")[0].removeprefix("# ")


@dataclass(frozen=True)
class Member:
    """A member in etcd's list of members; `name` is empty until it has started."""

    id: str
    name: str
    peer_url: str
    learner: bool
    healthy: bool

    @property
    def address(self) -> str:
        return urlsplit(self.peer_url).hostname or ""


Addresses = Mapping[str, str]
"""The addresses of hosts, by name."""


@dataclass(frozen=True)
class Admission:
    """The members to remove before a new one is added, and the value of --initial-cluster that includes it."""

    removed: tuple[str, ...]
    initial_cluster: str


def addresses(nodes: Iterable[Node]) -> dict[str, str]:
    return {node.name: node.address for node in nodes}


def members(listed: str, health: str) -> tuple[Member, ...]:
    """Parse the members from the JSON of `etcdctl member list` and `endpoint health --cluster`."""
    # While any member has an alarm, etcdctl reports serving members as unhealthy.
    serving = {
        each["endpoint"]
        for each in json.loads(health or "[]")
        if each["health"] or each.get("error", "").startswith("Active Alarm(s): ")
    }
    return tuple(
        Member(
            id=f"{each['ID']:x}",
            name=each.get("name", ""),
            peer_url=each["peerURLs"][0],
            learner=each.get("isLearner", False),
            healthy=bool(serving.intersection(each.get("clientURLs", ()))),
        )
        for each in json.loads(listed)["members"]
    )


CORRUPT = "CORRUPT"
"""The alarm of a member whose data differ from the others'; etcd takes no writes while one stands."""


def alarms(lines: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Parse `etcdctl alarm list`: the IDs of members, as `members` has them, and the names of their alarms."""
    # "memberID:123 alarm:NOSPACE", with one space or two: protobuf's text output varies.
    words = (line.split() for line in lines if line.startswith("memberID:"))
    return tuple((f"{int(who.partition(':')[2]):x}", alarm.partition(":")[2]) for who, alarm in words)


def corrupt(raised: Iterable[tuple[str, str]], current: Collection[Member]) -> list[str]:
    """Return the present members with the alarm CORRUPT, as they are shown; a member that left may have one, too."""
    named = {member for member, alarm in raised if alarm == CORRUPT}
    return [_shown(each) for each in current if each.id in named]


# Whether the members match the inventory.


def faults(group: Addresses, current: Collection[Member], data: Mapping[str, bool]) -> list[str]:
    """Return the faults of the current and the desired members that stop a deploy, one line each.

    `group` has the hosts of the group etcd. `current` is empty if no quorum answers. `data` says, for each
    host with a look, whether it has etcd data: a host without data joins, and replaces its entry in the members' list.
    """
    if not current:
        return list(_founding_faults(group, data))
    staying = {name: address for name, address in group.items() if data.get(name, True)}
    return [
        *_surplus(group, current),
        *_moved(staying, current),
        *_expelled(staying, current, data),
        *(_unfit_size(group) if _missing(group, current) else ()),
    ]


def warnings(group: Addresses, current: Collection[Member]) -> list[str]:
    """Return the fault that a deploy tolerates: an even number of members, as after the loss of one of three."""
    if len(group) % 2 or not current or _missing(group, current):
        return []
    remedy = f"it survives no more failures than {len(group) - 1} would: add a host, or remove one"
    return [f"etcd: has an even number of members ({', '.join(group)}); {remedy}"]


def reset_faults(hosts: Addresses, taking_part: Collection[str], current: Collection[Member]) -> list[str]:
    """Return the fault of a reset that would end etcd for hosts that it does not reset, as a list.

    `hosts` has all hosts of the inventory, `taking_part` the names of those that the reset takes.
    """
    voters = [each for each in current if not each.learner]
    reset = {name: address for name, address in hosts.items() if name in taking_part}
    kept = [each for each in voters if not any(_of_host(name, address, [each]) for name, address in reset.items())]
    absent = [each for each in kept if not each.healthy]
    # A reset of all hosts gives the whole cluster up.
    if reset.keys() == hosts.keys() or not kept or len(kept) == len(voters):
        return []
    if len(kept) - len(absent) >= quorum(len(voters)):
        return []
    seen = f"{_listed(each for each in voters if each not in kept)} of {_listed(voters)}"
    remedy = "remove them one after the other: actions/remove_node.py"
    if absent:
        seen += f"; not healthy: {_listed(absent)}"
        remedy = f"repair the members that are not healthy, or remove them: {_removal(absent[0], current)}"
    return [f"etcd: would lose its quorum with these members ({seen}); {remedy}; or reset all hosts: leave --limit out"]


def not_compared(unknown: Mapping[str, str]) -> list[str]:
    """Return the warning that no member was asked, or answered: `unknown` says why, by host."""
    why = "; ".join(f"{name}: {reason}" for name, reason in unknown.items()) or "no member is in this run"
    remedy = "start them, and include a host of etcd in the run"
    return [f"etcd: its members were not compared with the inventory ({why}); {remedy}"]


def problems(group: Addresses, current: Collection[Member]) -> Iterator[str]:
    """Yield the problems of the members; nothing if no quorum answers."""
    if not current:
        return
    yield from _surplus(group, current)
    yield from _moved(group, current)
    for name in _missing(group, current):
        yield f"{name}: is not a member of etcd ({_listed(current)}); deploy again"
    for name, address in group.items():
        for each in _of_host(name, address, current):
            if each.learner:
                yield f"{name}: is a learner in etcd, without a vote yet ({_shown(each)}); deploy again"
            elif not each.healthy:
                remedy = f"start it, or, if it is gone for good, remove it: {_removal(each, current)}"
                yield f"{name}: its member of etcd is not healthy ({_shown(each)}); {remedy}"


def _founding_faults(group: Addresses, data: Mapping[str, bool]) -> Iterator[str]:
    founders = [data[name] for name in group if name in data]
    if founders and not any(founders):
        yield from _unfit_size(group)
    # The deploy would delete their data.
    for name, has_data in data.items():
        if has_data and name not in group:
            problem = "has etcd data, and no quorum answers whether it is a member"
            remedy = "start the members, then deploy to all hosts; or put the host into the group"
            yield f"{name}: {problem} (the group etcd: {', '.join(group)}); {remedy}"


def _unfit_size(group: Addresses) -> Iterator[str]:
    if len(group) % 2 == 0:
        yield f"etcd: needs an odd number of hosts ({', '.join(group)}); add or remove one"


def _surplus(group: Addresses, current: Collection[Member]) -> Iterator[str]:
    for each in current:
        if each.name not in group and each.address not in group.values():
            remedy = f"put its host into the group, or remove it: {_removal(each, current)}"
            yield f"etcd: has a member that is not in the group etcd ({_shown(each)}); {remedy}"


def _moved(group: Addresses, current: Collection[Member]) -> Iterator[str]:
    for name, address in group.items():
        for each in current:
            if each.name == name and each.address != address:
                remedy = f"give it that address back, or remove it, then deploy: {_removal(each, current)}"
                yield f"{name}: is a member of etcd at another address ({each.address}, not {address}); {remedy}"


def _expelled(group: Addresses, current: Collection[Member], data: Mapping[str, bool]) -> Iterator[str]:
    for name in _missing(group, current):
        if name in data:
            remedy = f"remove its data, then deploy: {_REMOVE}{name}"
            yield f"{name}: has etcd data, but is no longer a member ({_listed(current)}); {remedy}"


def _missing(group: Addresses, current: Collection[Member]) -> list[str]:
    return [name for name, address in group.items() if not _of_host(name, address, current)]


def _of_host(name: str, address: str, current: Collection[Member]) -> list[Member]:
    return [each for each in current if each.name == name or each.address == address]


def _listed(current: Iterable[Member]) -> str:
    return ", ".join(each.name or each.address for each in current)


_REMOVE = "actions/remove_member.py --data member="


def _removal(member: Member, current: Collection[Member]) -> str:
    namesakes = [each for each in current if each.name == member.name]
    return _REMOVE + (member.name if member.name and len(namesakes) == 1 else member.address)


# Founding and restoring.


def hindrances(founders: Mapping[str, OnDisk | None], beginning: str) -> list[str]:
    """Return the reasons why these hosts cannot found a cluster with `beginning`, their first-start.conf.

    None means a host without a look. Any data may be the last copy of a cluster's data: while one host has data, the
    hosts found no other cluster.
    """
    return [f"{name} {why}" for name, seen in founders.items() for why in _hindrance(seen, beginning)]


def _hindrance(seen: OnDisk | None, beginning: str) -> Iterator[str]:
    if seen is None:
        yield "is not in this run"
    elif seen.step == RESTORING:
        yield "has an interrupted restore"
    elif seen.data and seen.beginning != beginning:
        yield "has data of another cluster that never served" if seen.step == FOUNDING else "has data"


def not_restorable(hosts: Mapping[str, OnDisk | None], confirmed: bool) -> list[str]:
    """Return the reasons why these hosts refuse a restore of a backup; an interrupted restore is not a reason."""
    return [f"{name} {why}" for name, seen in hosts.items() for why in _not_restorable(seen, confirmed)]


def _not_restorable(seen: OnDisk | None, confirmed: bool) -> Iterator[str]:
    if seen is None:
        yield "is not in this run: all hosts of etcd are restored together"
    elif seen.data and seen.step != RESTORING and not confirmed:
        yield "has etcd data: reset it, or add --data confirm= with the cluster's name to replace its data"


def without_room(free: Mapping[str, int], size: int) -> list[str]:
    """Return the members whose disk of etcd, with these MiB free, has no room for a snapshot of `size` bytes."""
    # The snapshot, the data made from it, and etcd's first log.
    needed = (2 * size >> 20) + 128
    return [
        f"{name} has too little room in /var/lib/etcd ({mib} MiB free, {needed} needed): make room there"
        for name, mib in free.items()
        if mib < needed
    ]


def admission(node: Node, expected: Collection[str], current: Collection[Member]) -> Admission:
    """Return the admission of a host without data; `expected` has the names of all desired members.

    An old entry of this host belongs to a lost machine. Raises Refused if the quorum would be at risk.
    """
    url = node.peer_url
    own = [each for each in current if node.name == each.name or url == each.peer_url]
    others = [each for each in current if each not in own]
    for each in own:
        if each.healthy:
            raise Refused(
                f"{node.name}: has no data, but a member of its name or address serves ({_shown(each)});"
                " stop that member's machine if this host replaces it"
            )
    for each in others:
        if each.learner:
            raise Refused(
                f"{node.name}: cannot join etcd while another member is a learner ({_shown(each)});"
                f" deploy to that host first, or remove it: {_removal(each, current)}"
            )
        if not own and each.name not in expected:
            raise Refused(
                f"{node.name}: etcd has a member that is not in the inventory ({_shown(each)});"
                f" remove it first: {_removal(each, current)}"
            )
    _keep_quorum(f"{node.name}: cannot join etcd", others)
    names = {each.peer_url: each.name or each.id for each in others} | {url: node.name}
    return Admission(
        removed=tuple(each.id for each in own),
        initial_cluster=",".join(f"{name}={peer}" for peer, name in names.items()),
    )


def leaving(wanted: str, hosts: Addresses, current: Collection[Member]) -> Member | None:
    """Return the member to remove, by its name, ID or address, or by the name of the host at its address.

    `hosts` has all hosts of the inventory. None if there is no such member. Raises Refused if the member belongs to
    another host, and if the quorum would be at risk.
    """
    own = named(wanted, hosts, current)
    if not own:
        return None
    if len(own) > 1:
        shown = "; ".join(f"{_shown(each)}, ID {each.id}" for each in own)
        raise Refused(
            f"{wanted}: etcd has more than one member of that name or address ({shown});"
            f" remove one by its ID, and then the other: {_REMOVE}{own[0].id}"
        )
    _keep_others(wanted, own[0], hosts)
    _keep_majority(wanted, own[0], [each for each in current if each != own[0]])
    return own[0]


def named(wanted: str, hosts: Addresses, seen: Iterable[Member]) -> list[Member]:
    """Return the members that a name, an ID or an address refers to."""
    return [each for each in seen if wanted in (each.name, each.id, each.address) or hosts.get(wanted) == each.address]


@dataclass(frozen=True)
class Departure:
    """A member's departure: etcdctl runs on the host `by`; etcd is removed from the host `off`, unless it is empty."""

    by: str
    off: str


def departure(
    wanted: str, hosts: Addresses, seen: Mapping[str, Collection[Member]], holding: Collection[str]
) -> Departure:
    """Return the departure of the member `wanted`, or of its remains on its host.

    `seen` has the members by the hosts on which a quorum answered, `holding` the hosts that have data or keys of etcd.
    Raises Refused if there is no such member, and if no quorum answers on another host.
    """
    current = next(iter(seen.values()), ())
    own = named(wanted, hosts, current)
    off = next((name for each in own for name in _hosts_of(each, hosts)), _host_called(wanted, hosts))
    if current and not own and off not in holding:
        remedy = "name one of these, by its name, its address or its ID"
        raise Refused(f"{wanted}: is not a member of etcd ({_listed(current)}); {remedy}")
    by = next((name for name in seen if name != off), "")
    if not by:
        answering = ", ".join(seen) or "none"
        remedy = "start the members, and include their hosts in the run; or restore a backup: actions/restore.py"
        raise Refused(f"etcd: no quorum answers on a host that stays ({answering}); {remedy}")
    others = [each for each in current if each not in own]
    return Departure(by, "" if off and _of_host(off, hosts[off], others) else off)


def _hosts_of(member: Member, hosts: Addresses) -> list[str]:
    """Return the possible hosts of a member, the host at its address first: its name may be outdated."""
    return [name for name, address in hosts.items() if address == member.address] + [
        name for name in hosts if name == member.name
    ]


def _host_called(wanted: str, hosts: Addresses) -> str:
    return next((name for name, address in hosts.items() if wanted in (name, address)), "")


def _keep_others(wanted: str, own: Member, hosts: Addresses) -> None:
    """Refuse a healthy member with this name but the address of another host: that host was renamed."""
    for name, address in hosts.items():
        if own.healthy and address == own.address and name != wanted and own.name == wanted:
            raise Refused(
                f"{wanted}: the member of etcd with that name is at the address of {name} ({_shown(own)}); name that"
                f" host {wanted} again to remove it, or remove only its member: {_REMOVE}{address}"
            )


def _keep_majority(wanted: str, own: Member, others: Collection[Member]) -> None:
    if own.learner:
        return
    if not [each for each in others if not each.learner]:
        raise Refused(f"{wanted}: is the only member of etcd; take a backup, then reset the whole cluster")
    for each in others:
        if own.healthy and not each.healthy and not each.learner:
            raise Refused(
                f"{wanted}: cannot leave etcd while another member is not healthy ({_shown(each)});"
                f" repair that one first, or remove it: {_removal(each, others)}"
            )
    _keep_quorum(f"{wanted}: cannot leave etcd", others)


def _keep_quorum(subject: str, remaining: Collection[Member]) -> None:
    """Refuse if the remaining members would not have a quorum."""
    voters = [each for each in remaining if not each.learner]
    healthy = sum(each.healthy for each in voters)
    if healthy < quorum(len(voters)):
        unhealthy = ", ".join(_shown(each) for each in voters if not each.healthy)
        raise Refused(
            f"{subject}: of the other {len(voters)} members only {healthy} are healthy (not {unhealthy});"
            " start those first, or restore the cluster from a backup: actions/restore.py"
        )


def _shown(member: Member) -> str:
    return f"{member.name or 'not started yet'}, {member.peer_url}"
