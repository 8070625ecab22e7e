"""A cluster's status as one self-contained page for a browser."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from pathlib import Path

from kubekeel.durable import replace
from kubekeel.pki import CONTROL
from kubekeel.render import render
from kubekeel.status import KEPT, SNAPSHOT_PERIOD, Certificate, NodeStatus, Space, Status

_YEAR = 365
# kubelet's defaults: it removes images from 85 % on, and evicts pods if less than 10 % of a disk is free.
_TIGHT, _FULL = 85, 90
_SOONEST = 8


class Tone(IntEnum):
    """The severity of a state, the worst first."""

    bad = 0
    warn = 1
    good = 2


@dataclass(frozen=True)
class Bar:
    """One line of a plot: `percent` of its full length, and the `text` that explains it."""

    label: str
    percent: int
    text: str
    tone: Tone


@dataclass(frozen=True)
class Part:
    """A component of a node."""

    name: str
    text: str
    tone: Tone


@dataclass(frozen=True)
class Card:
    """The card of a node on the page."""

    name: str
    address: str
    roles: tuple[str, ...]
    tone: Tone
    unreachable: str
    facts: tuple[str, ...]
    parts: tuple[Part, ...]
    bars: tuple[Bar, ...]


def page(status: Status, now: datetime) -> bytes:
    """Return the page as HTML; `now` is an aware datetime. Nodes with a problem come first."""
    problems, notes = list(status.problems()), list(status.notes())
    certificates = sorted(_certificates(status), key=lambda each: (each.tone, each.percent))
    cards = [_card(node, status, problems, notes) for node in status.nodes]
    return render(
        "status.html",
        status=status,
        now=f"{now:%Y-%m-%d %H:%M %Z}",
        problems=problems,
        notes=notes,
        cards=sorted(cards, key=lambda card: card.tone),
        soonest=certificates[:_SOONEST],
        later=certificates[_SOONEST:],
        versions=_versions(status),
    )


def write(path: Path, content: bytes) -> None:
    """Write a page atomically; raises OSError."""
    replace(path, content, 0o666)


def _card(node: NodeStatus, status: Status, problems: Iterable[str], notes: Iterable[str]) -> Card:
    bars = tuple(_bars(node, status))
    tone = Tone.good
    if _names(node, problems):
        tone = Tone.bad
    elif _names(node, notes) or any(bar.tone != Tone.good for bar in bars):
        tone = Tone.warn
    return Card(
        name=node.name,
        address=node.address,
        roles=node.roles,
        tone=tone,
        unreachable=node.unreachable,
        facts=tuple(_facts(node)),
        parts=tuple(_parts(node)),
        bars=bars,
    )


def _names(node: NodeStatus, lines: Iterable[str]) -> bool:
    return any(line.startswith(f"{node.name}: ") for line in lines)


def _facts(node: NodeStatus) -> Iterator[str]:
    if node.kubekeel_version:
        yield f"deployed by Kubekeel {node.kubekeel_version}"
    if node.member:
        yield f"etcd {'leads' if node.member.leads else 'follows'}, {_amount(node.member.size)}"
    if node.differing:
        yield f"{len(node.differing)} files are not as described"


def _parts(node: NodeStatus) -> Iterator[Part]:
    for component in node.components:
        tone = Tone.bad if not component.is_healthy else Tone.good
        texts = [] if component.name in KEPT and component.is_healthy else [component.state]
        if component.version is None:
            texts.append("other version")
        if component.outdated:
            texts.append("outdated")
        if component.disabled:
            texts.append("disabled")
        if component.is_healthy and (component.outdated or component.disabled or component.version is None):
            tone = Tone.warn
        yield Part(component.name, ", ".join(texts) or component.state, tone)


def _bars(node: NodeStatus, status: Status) -> Iterator[Bar]:
    if node.memory:
        yield _space(node.memory, "memory")
    for disk in node.disks:
        yield _space(disk, f"disk {disk.name}")
    if node.certificates:
        first = min(node.certificates, key=lambda each: -1 if each.days_left is None else each.days_left)
        yield _days(f"expires first: {first.name}", first, status.renew_before_days)
    if node.snapshot_age is not None or node.member:
        yield _snapshot(node)


def _space(space: Space, label: str) -> Bar:
    used = space.used_percent
    tone = Tone.bad if used >= _FULL else Tone.warn if used >= _TIGHT else Tone.good
    return Bar(label, used, f"{used} % of {_amount(space.size)}, {_amount(space.free)} free", tone)


def _snapshot(node: NodeStatus) -> Bar:
    failed = ", the last one failed" if node.snapshot_failed else ""
    if node.snapshot_age is None:
        return Bar("newest snapshot", 0, f"none{failed}", Tone.bad if node.snapshot_failed else Tone.warn)
    late = 2 * SNAPSHOT_PERIOD
    percent = min(100, round(100 * node.snapshot_age / late))
    tone = Tone.bad if node.snapshot_failed or node.snapshot_age > late else Tone.good
    return Bar("newest snapshot", percent, f"{node.snapshot_age / 3600:.1f} h ago of {late // 3600} h{failed}", tone)


def _certificates(status: Status) -> Iterator[Bar]:
    for certificate in status.kept:
        yield _days(f"{CONTROL}: {certificate.name}", certificate, status.renew_before_days)
    for node in status.nodes:
        for certificate in node.certificates:
            yield _days(f"{node.name}: {certificate.name}", certificate, status.renew_before_days)


def _days(label: str, certificate: Certificate, renew_before: int) -> Bar:
    days = certificate.days_left
    if days is None:
        return Bar(label, 0, "is not a certificate", Tone.bad)
    if days < 0:
        return Bar(label, 0, f"expired {-days} days ago", Tone.bad)
    tone = Tone.warn if certificate.ends_soon(renew_before) else Tone.good
    return Bar(label, min(100, round(100 * days / _YEAR)), f"{days} days", tone)


def _versions(status: Status) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Return the nodes by component and version; "other version" stands for any but the described one."""
    found: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for node in status.nodes:
        for component in node.components:
            if component.version != "":
                found[component.name][component.version or "other version"].append(node.name)
    return {name: {version: tuple(nodes) for version, nodes in of.items()} for name, of in found.items()}


def _amount(size: int) -> str:
    amount, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if amount >= 100 or unit == "B" else f"{amount:.1f} {unit}"
