"""A look at every host of a cluster, and its result on one screen."""

from __future__ import annotations

import sys
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gevent.pool import Group
from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kubekeel.cluster import ROLES, Node
from kubekeel.files import differing
from kubekeel.membership import addresses, members
from kubekeel.nodes import DRAINED
from kubekeel.parts import described
from kubekeel.pki import CONTROL
from kubekeel.preflight import Unseen, nodes_left
from kubekeel.preflight.system import ROOMS
from kubekeel.render import BIN, MANIFESTS, Target
from kubekeel.restart import MARK, RESUMED_WITHIN
from kubekeel.service import Service
from kubekeel.shell import script
from kubekeel.status import (
    AS_DESCRIBED,
    KEPT,
    SERVES,
    Certificate,
    Component,
    NodeStatus,
    Status,
    certificate,
    disks,
    member,
    memory,
)
from kubekeel.status_page import page, write
from kubekeel.upgrade import progress
from operations.converge import Look, RoleSeen, stale
from operations.etcd import ETCDCTL
from operations.kubectl import KUBECTL
from operations.members import TIMER
from operations.preflight import look_at, looks, running
from run.ask import ask
from run.inventory import cluster_of, hosts_of, node_of, pki_of, supply_of

_WIDTH = 160
"""The width of the table without a terminal, in columns."""
_FIRST_COLUMN, _COLUMN = 36, 32

_MORE = script(
    "node/status.sh",
    etcdctl=[ETCDCTL],
    kubectl=[KUBECTL],
    timer=[TIMER],
    rooms=ROOMS,
    mark=[MARK],
    resumed_within=[f"{RESUMED_WITHIN // timedelta(minutes=1)}"],
    drained=[DRAINED],
)


@dataclass(frozen=True)
class Health:
    """The checks of a node's health: its units, and shell conditions for everything else."""

    services: Callable[[Target], Sequence[Service]]
    conditions: Callable[[Target], Mapping[str, str]]


@operation()
def report(health: Health, html: str = "") -> Generator[FunctionCommand, None, None]:
    """Print the state of all hosts of the run, and with `html` write it as a page into that file.

    Fails unless the cluster is healthy.
    """
    yield FunctionCommand(_report, (health, html), {})


def _report(state: State, host: Host, health: Health, html: str) -> bool:  # noqa: ARG001 - pyinfra's signature
    status = _status(state, health)
    written = not html or _written(Path(html).expanduser(), status)
    if "--json" in sys.argv:
        print(status.as_json())
        # pyinfra's own output must not mix with the JSON.
        sys.stdout = sys.stderr
    else:
        _print(status)
    for problem in status.problems():
        logger.error(problem)
    return status.healthy and written


def _written(path: Path, status: Status) -> bool:
    try:
        write(path, page(status, datetime.now(UTC)))
    except OSError as error:
        logger.error(f"{path}: cannot be written ({error.strerror}); check the disk, and the rights of its folder")
        return False
    return True


def _status(state: State, health: Health) -> Status:
    hosts = hosts_of(state)
    cluster = cluster_of(state.inventory)
    return Status(
        cluster=cluster.name,
        kubernetes_version=cluster.kubernetes_version,
        renew_before_days=cluster.renew_before_days,
        nodes=tuple(Group().map(lambda each: _node(each, health), hosts)),
        kept=tuple(
            Certificate(row.name, row.days_left)
            for row in pki_of(state.inventory, hosts).report()
            if row.node == CONTROL
        ),
        nodes_left=tuple(nodes_left(cluster, looks(state))),
        generations=pki_of(state.inventory, hosts).generations(),
        upgrade=progress(cluster, running(state)),
        etcd=addresses(cluster.etcd),
        maintenance=tuple(sorted(cluster.in_maintenance)),
    )


def _node(host: Host, health: Health) -> NodeStatus:
    node = node_of(host)
    if not host.connected:
        return _unreachable(node, "no SSH connection")
    look = look_at(host)
    if isinstance(look, Unseen):
        return _unreachable(node, look.said)
    try:
        inventory = host.inventory
        pki = pki_of(inventory, hosts_of(host.state))
        target = Target(node, look.machine, cluster_of(inventory), pki, supply_of(inventory))
        services, conditions = health.services(target), health.conditions(target)
        seen = _seen(target, services, conditions, _output(host, _script(target, services, conditions)))
        return replace(seen, kubekeel_version=look.identity.kubekeel)
    except (OSError, SSHException, EOFError, KeyError) as error:
        return _unreachable(node, f"{type(error).__name__} {error}")


def _unreachable(node: Node, why: str) -> NodeStatus:
    return NodeStatus(node.name, node.address, unreachable=why, roles=_roles(node))


def _roles(node: Node) -> tuple[str, ...]:
    return tuple(role for role in ROLES if role in node.roles)


def _output(host: Host, script: str) -> list[str]:
    return ask(host, f"{{\n{script}\n}} 2>/dev/null; true")[1].stdout_lines


def _script(target: Target, services: Sequence[Service], conditions: Mapping[str, str]) -> str:
    ready = {service.unit: service.ready for service in services}
    paths = {*described(target), *(path for service in services for path in service.files)}
    return f"{Look().command(paths, list(ready), {**ready, **conditions})}\n{_MORE}"


def _seen(
    target: Target, services: Sequence[Service], conditions: Mapping[str, str], lines: Iterable[str]
) -> NodeStatus:
    lines = list(lines)
    seen = Look().process(lines)
    more: defaultdict[str, list[str]] = defaultdict(list)
    for line in lines:
        kind, _, rest = line.partition("\t")
        more[kind].append(rest)
    unlike = differing(described(target), seen.paths)
    certificates = (line.split("\t") for line in sorted(more["certificate"]))
    now = float(more["now"][0])
    ages = [now - float(taken) for taken in more["snapshot"]]
    timers = [now - float(written) for written in more["timer"]]
    return NodeStatus(
        name=target.node.name,
        address=target.node.address,
        roles=_roles(target.node),
        components=(
            *(_service(service, seen, _version(target, service.unit, unlike)) for service in services),
            *(_other(name, seen, _version(target, name, unlike)) for name in conditions),
        ),
        member=member("".join(more["etcd"]), more["alarm"]),
        members=members(more["members"][0], "".join(more["health"])) if more["members"] else (),
        certificates=tuple(certificate(path, b64decode(text), datetime.now(UTC)) for path, text in certificates),
        snapshot_age=min(ages, default=None),
        timer_age=min(timers, default=None),
        snapshot_failed="snapshot_failed" in more,
        differing=tuple(sorted(unlike)),
        memory=memory(more["memory"]),
        disks=disks(more["disk"]),
        restart_pending="restart" in more,
        drained=tuple(sorted(more["drained"])),
    )


def _service(service: Service, seen: RoleSeen, version: str | None) -> Component:
    unit = seen.units[service.unit]
    state = "not active" if not unit.active else SERVES if unit.ready else "active, but not healthy"
    outdated = unit.active and stale(service, seen)
    return Component(service.unit, state, version, outdated=outdated, disabled=not unit.enabled)


def _other(name: str, seen: RoleSeen, version: str | None) -> Component:
    good, bad = (AS_DESCRIBED, "not as described") if name in KEPT else (SERVES, "not healthy")
    return Component(name, good if name in seen.holds else bad, version)


def _version(target: Target, name: str, unlike: Iterable[str]) -> str | None:
    """Return a part's version if its binary and manifest are as described, None if not, "" for parts without one."""
    binary = "etcd" if name == "api-balancer" else name
    try:
        version = target.cluster.release.component_of(binary).version
    except KeyError:
        return ""
    places = {f"{BIN}/{binary}", f"{MANIFESTS}/{binary}.yaml"}
    return None if places & set(unlike) else version


def _print(status: Status) -> None:
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    wide = max(1, (console.width - _FIRST_COLUMN) // _COLUMN)
    for first in range(0, len(status.nodes), wide):
        console.print(table(status, status.nodes[first : first + wide]))
    keys = (f"{name} {' and '.join(map(str, numbers))}" for name, numbers in status.generations.items())
    console.print(f" generations of keys: {', '.join(keys)}", highlight=False)
    for style, lines in (("bold red", status.problems()), ("yellow", status.notes())):
        for line in lines:
            console.print(line, style=style, soft_wrap=True, highlight=False, markup=False)
    console.print("healthy" if status.healthy else "not healthy", style="green" if status.healthy else "bold red")


def table(status: Status, nodes: Sequence[NodeStatus]) -> Table:
    """Return a table with a column for each of these nodes, and a row for each of their components and files."""
    shown = Table(
        f"{status.cluster}\n{status.kubernetes_version}",
        *(f"{node.name}\n{node.address}" for node in nodes),
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for name in dict.fromkeys(component.name for node in nodes for component in node.components):
        shown.add_row(name, *(_component(node, name) for node in nodes))
    shown.add_row("snapshot", *(_age(node) for node in nodes))
    shown.add_row("files", *(_files(node) for node in nodes), end_section=True)
    for name in dict.fromkeys(each.name for node in nodes for each in node.certificates):
        shown.add_row(escape(name), *(_days(node.certificates, name, status.renew_before_days) for node in nodes))
    if nodes[0] == status.nodes[0]:
        for each in status.kept:
            shown.add_row(f"{CONTROL}: {each.name}", _days(status.kept, each.name, status.renew_before_days))
    return shown


def _component(node: NodeStatus, name: str) -> str:
    for component in node.components:
        if component.name == name:
            words = [component.state, "other version" if component.version is None else component.version]
            if name == "etcd" and node.member:
                words += [
                    "leader" if node.member.leads else "",
                    f"{node.member.size / 2**20:.1f} MiB",
                    *node.member.alarms,
                ]
            words += ["outdated" if component.outdated else "", "disabled" if component.disabled else ""]
            return _styled(" ".join(filter(None, words)), component.is_healthy)
    return _styled("unreachable", False) if node.unreachable else ""


def _age(node: NodeStatus) -> str:
    return "-" if node.snapshot_age is None else f"{node.snapshot_age / 3600:.1f} h ago"


def _files(node: NodeStatus) -> str:
    if node.unreachable:
        return "-"
    return f"[yellow]{len(node.differing)} differ[/]" if node.differing else "as described"


def _days(certificates: Iterable[Certificate], name: str, soon: int) -> str:
    for each in certificates:
        if each.name == name:
            if each.days_left is None:
                return _styled("not a certificate", False)
            if each.days_left < 0:
                return _styled(f"expired, {-each.days_left} days ago", False)
            return f"[{'yellow' if each.days_left < soon else 'green'}]{each.days_left} days[/]"
    return ""


def _styled(text: str, good: bool) -> str:
    return f"[{'green' if good else 'bold red'}]{escape(text)}[/]"
