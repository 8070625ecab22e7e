"""Who is a member of etcd, and how others become and cease to be one: decided from what is seen alone."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from kubekeel.cluster import Node

FOUNDING, JOINING, RESTORING = "founding", "joining", "restoring"
"""What a member that has never served was about to do."""


class Refused(Exception):
    """A step that would harm etcd: what is wrong, and what to do."""


@dataclass(frozen=True)
class OnDisk:
    """What a host holds of etcd; `beginning` is the content of its first-start.conf, gone once it has served."""

    data: bool
    beginning: str = ""

    @property
    def step(self) -> str:
        """FOUNDING, JOINING or RESTORING; empty for a member that has served, and where nothing was begun."""
        return self.beginning.partition("\n")[0].removeprefix("# ")


@dataclass(frozen=True)
class Member:
    """A member as the others know it; `name` is empty until it has started."""

    id: str
    name: str
    peer_url: str
    learner: bool
    healthy: bool


@dataclass(frozen=True)
class Admission:
    """The members to remove before a new one is added, and all there are with it, as --initial-cluster takes them."""

    removed: tuple[str, ...]
    initial_cluster: str


def peer_url(node: Node) -> str:
    return f"https://{node.address}:2380"


def members(listed: str, health: str) -> tuple[Member, ...]:
    """The members from what `etcdctl member list` and `endpoint health --cluster` print as JSON."""
    serving = {each["endpoint"] for each in json.loads(health or "[]") if each["health"]}
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


def hindrances(founders: Mapping[str, OnDisk | None], beginning: str) -> list[str]:
    """What keeps these hosts from founding a cluster by `beginning`, their first-start.conf; None is an unseen host.

    Any data may be all that is left of a cluster: as long as a host has some, no other cluster is founded.
    """
    return [f"{name} {why}" for name, seen in founders.items() for why in _hindrance(seen, beginning)]


def _hindrance(seen: OnDisk | None, beginning: str) -> Iterator[str]:
    if seen is None:
        yield "is not in this run"
    elif seen.step == RESTORING:
        yield "holds a restore that was cut short"
    elif seen.data and seen.beginning != beginning:
        yield "has data of another cluster that never served" if seen.step == FOUNDING else "has data"


def not_restorable(hosts: Mapping[str, OnDisk | None], confirmed: bool) -> list[str]:
    """What keeps these hosts from being given the data of a backup; a restore that was cut short does not."""
    return [f"{name} {why}" for name, seen in hosts.items() for why in _not_restorable(seen, confirmed)]


def _not_restorable(seen: OnDisk | None, confirmed: bool) -> Iterator[str]:
    if seen is None:
        yield "is not in this run: all hosts of etcd are restored together"
    elif seen.data and seen.step != RESTORING and not confirmed:
        yield "has data of etcd: reset it, or give --data confirm= with the cluster's name to replace what it has"


def admission(node: Node, expected: Collection[str], there: Collection[Member]) -> Admission:
    """How a host without data becomes a member; `expected` are the names of all hosts that are to be members.

    An entry of the host itself is that of a machine which is gone. Raises Refused where a quorum would be at stake.
    """
    url = peer_url(node)
    own = [each for each in there if node.name == each.name or url == each.peer_url]
    others = [each for each in there if each not in own]
    for each in own:
        if each.healthy:
            raise Refused(
                f"{node.name}: has no data, but a member of its name or address serves ({_told(each)});"
                " stop the machine that it is on, if this one takes its place"
            )
    for each in others:
        if each.learner:
            raise Refused(
                f"{node.name}: cannot join etcd before another one has joined ({_told(each)});"
                " deploy to that host first, or remove it by actions/remove_node.py"
            )
        if not own and each.name not in expected:
            raise Refused(
                f"{node.name}: etcd has a member that is not in the inventory ({_told(each)});"
                f" remove it first: actions/remove_node.py --data node={each.name}"
            )
    _keep_quorum(f"{node.name}: cannot join etcd", others)
    names = {each.peer_url: each.name or each.id for each in others} | {url: node.name}
    return Admission(
        removed=tuple(each.id for each in own),
        initial_cluster=",".join(f"{name}={peer}" for peer, name in names.items()),
    )


def leaving(name: str, there: Collection[Member]) -> Member | None:
    """The member to remove; None if there is none of that name. Raises Refused where a quorum would be at stake."""
    own = next((each for each in there if each.name == name), None)
    if own is None or own.learner:
        return own
    others = [each for each in there if each != own]
    if not [each for each in others if not each.learner]:
        raise Refused(f"{name}: is the only member of etcd; take a backup, then reset the whole cluster")
    for each in others:
        if own.healthy and not each.healthy:
            raise Refused(
                f"{name}: cannot leave etcd while another member is not healthy ({_told(each)});"
                " repair or remove that one first"
            )
    _keep_quorum(f"{name}: cannot leave etcd", others)
    return own


def _keep_quorum(subject: str, remaining: Collection[Member]) -> None:
    """Refuse if those that remain could not decide anything by themselves."""
    voters = [each for each in remaining if not each.learner]
    healthy = sum(each.healthy for each in voters)
    if healthy <= len(voters) // 2:
        sick = ", ".join(_told(each) for each in voters if not each.healthy)
        raise Refused(
            f"{subject}: of the other {len(voters)} members only {healthy} are healthy (not {sick});"
            " start those first, or bring the cluster back from a backup: actions/restore.py"
        )


def _told(member: Member) -> str:
    return f"{member.name or 'not started yet'}, {member.peer_url}"
