"""One look at every host of a run, before the run changes any of them."""

from __future__ import annotations

import json
import re
import shlex
import time
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from ipaddress import IPv4Network
from threading import Lock
from typing import Any

from gevent.pool import Group
from paramiko import SSHException
from pyinfra import logger, state
from pyinfra.api.host import Host
from pyinfra.api.state import State, StateStage
from pyinfra.connectors.util import CommandOutput, OutputLine

from kubekeel import membership, shell, upgrade, versions
from kubekeel.absence import refusals
from kubekeel.cis.described import opened
from kubekeel.identity import Identities, Identity, lost_data, misfits, moved_members, shown, strangers
from kubekeel.membership import Member, addresses
from kubekeel.parts import marks, written
from kubekeel.preflight import (
    CNI,
    COMMANDS,
    DISKS,
    DOWNLOADERS,
    FILLED,
    FOLDERS,
    INSTALLED,
    OTHERS,
    PACKAGE_MANAGERS,
    ROOMS,
    UNITS,
    Arriving,
    Brought,
    Chain,
    DropIn,
    Hindrance,
    HostSeen,
    KernelSetting,
    Listener,
    Looks,
    Room,
    Route,
    Tunnel,
    Unseen,
    faults,
    in_use,
    kernel_modules,
    members_seen,
    warnings,
)
from kubekeel.render import SYSCTLS
from kubekeel.replaced import Held
from kubekeel.revocations import LISTED, parsed, unread
from kubekeel.room import arriving
from kubekeel.settings.values import API_PORT, REFUSE
from operations.etcd import ETCDCTL, LOCAL
from operations.kubectl import KUBECTL
from operations.machine import LOOK, machine
from operations.members import ON_DISK, Members, read_on_disk
from operations.store import IMAGES, STORE
from run import choices, lock
from run.absence import do_without
from run.ask import ask
from run.connection import Unreachable
from run.insides import HOST_KEY_REFUSED, LOGIN_REFUSED, NO_COMMON_ALGORITHM, at_end, go_on_without_connections
from run.inventory import cluster_of, hosts_of, is_deploy, learn, node_of, nodes_with_keys, pki_of, runs, supply_of

_NO_PODS = IPv4Network("0.0.0.0/32")

_IN_THE_WAY = shell.script("control_plane/in-the-way.sh")
_MEMBERS = shell.script("etcd/members.sh", etcdctl=[ETCDCTL])
_LEFT = """
find {marks} -maxdepth 0 -printf 'leftover %p\\n'
sed -n 's/.*--endpoints=\\([^ ]*\\).*/balanced \\1/p' /etc/systemd/system/api-balancer.service
"""

_HELD = f"""
find -H {STORE} -mindepth 2 -maxdepth 2 -type f -printf 'stored %P\\n'
readlink /proc/[0-9]*/exe | sed -n 's|.*/store/\\([0-9a-f]*/[^/]*\\)$|running \\1|p' | sort -u
{IMAGES} | awk '$3 {{print "pinned", $1}}'
"""

_hindrances = {LOGIN_REFUSED: Hindrance.LOGIN, HOST_KEY_REFUSED: Hindrance.HOST_KEY}
_unreached: dict[str, str] = {}
# pyinfra prepares hosts side by side: the first one looks at all of them, while the others wait.
_lock = Lock()


def expect_every_host() -> None:
    """Let a deploy go on to its preflight with unreachable hosts; config.py calls this.

    The preflight then reports them together with the other hosts' faults.
    """
    if is_deploy():
        go_on_without_connections(_unreached.__setitem__)
        # If all hosts are unreachable, pyinfra ends before the deploy begins.
        at_end(_report_unreached)


def verdict(state: State) -> list[str]:
    """Return all faults of all hosts of a deploy, found and logged once."""
    with _lock:
        return _verdict(state)


def examined(state: State) -> tuple[list[str], list[str]]:
    """Return a deploy's warnings and faults, without the needs of its artifacts."""
    with _lock:
        cluster, looks = cluster_of(state.inventory), _looks(state)
        return _warnings(state), [*_refusals(state), *faults(cluster, looks)]


def recognition(state: State) -> list[str]:
    """Return why a run must not touch its hosts, whatever its action, found and logged once."""
    with _lock:
        return _recognition(state)


def look_at(host: Host) -> HostSeen | Unseen:
    """Return the result of the run's look at a host."""
    return looks(host.state)[node_of(host).name]


def seen(host: Host) -> HostSeen:
    """Return the observed state of a reachable host."""
    look = look_at(host)
    assert isinstance(look, HostSeen)
    return look


def looks(state: State) -> Looks:
    """Return the results of the run's look at its hosts, by name."""
    with _lock:
        return _looks(state)


def script(
    holder: lock.Holder | None,
    members: Iterable[str],
    marks: Iterable[str] = (),
    paths: Iterable[str] = (),
    pods: IPv4Network = _NO_PODS,
    modules: Iterable[str] = (),
    services: str = "127.0.0.1",
) -> str:
    """Return shell lines that take the host's lease for `holder`, and print the host's state.

    `members` has the addresses of etcd's members, `marks` the paths that show leftover parts, `paths` the files that a
    deploy writes, `modules` those of the kernel that it needs, `pods` is the pods' network, `services` a service's
    address.
    """
    taking = lock.taking(holder) if holder else ""
    left = _LEFT.format(marks=shlex.join(marks) or "/nowhere")
    system = shell.script(
        "node/system.sh",
        members=members,
        services=[services],
        commands=(*COMMANDS, *PACKAGE_MANAGERS, *DOWNLOADERS, *INSTALLED),
        disks=DISKS,
        folders=FOLDERS,
        sysctls=[SYSCTLS],
    )
    looks = (
        system,
        shell.script("node/identity.sh"),
        ON_DISK,
        _MEMBERS,
        left,
        _HELD,
        versions.look(),
        brought(paths, pods),
        resources(modules=modules),
        LOOK,
    )
    return f"{{\n{taking}{''.join(looks)}}} 2>/dev/null"


def brought(paths: Iterable[str], pods: IPv4Network) -> str:
    """Return shell lines that print a host's foreign software and rules; a deploy writes `paths` there."""
    return shell.script("node/brought.sh", units=UNITS, others=OTHERS, folders=FILLED, written=paths, pods=[str(pods)])


def resources(rooms: Iterable[str] = ROOMS, modules: Iterable[str] = ()) -> str:
    """Return shell lines that print a host's resources for its programs, and which kernel modules it lacks."""
    return shell.script("node/resources.sh", commands=COMMANDS, rooms=rooms, modules=modules)


def read(lines: Sequence[str], sent: float, answered: float, holder: lock.Holder | None) -> HostSeen | Unseen:
    """Return a host's state from the output of `script`; `sent` and `answered` are times of this computer's clock."""
    rows: defaultdict[str, list[str]] = defaultdict(list)
    for line in lines:
        word, _, rest = line.partition(" ")
        rows[word].append(rest)
    one = {word: rests[0] for word, rests in rows.items()}
    if not one.keys() >= {"uid", "kernel", "clock", "hostname", "arch", "resolv_conf"}:
        return Unseen(Hindrance.SILENT, lines[0] if lines else "no output")
    if one["uid"] != "0":
        return Unseen(Hindrance.ROOT, f"uid {one['uid']}")
    found = _brought(rows)
    return HostSeen(
        machine=machine(one),
        kernel=one["kernel"],
        system=one.get("system", one["kernel"]),
        systemd=_number(one.get("systemd", "")),
        controllers=frozenset(one.get("controllers", "").split()),
        commands=frozenset(rows["command"]),
        swaps=tuple(rows["swap"]),
        disks={folder: _number(free) for folder, _, free in (disk.partition(" ") for disk in rows["disk"])},
        listeners=tuple(_listeners(rows, frozenset(rows["ours"]))),
        clock_off=_off(int(one["clock"]), sent, answered),
        machine_id=one.get("machine_id", ""),
        product_uuid=one.get("product_uuid", ""),
        addresses=frozenset(_addresses(one.get("addresses", ""))),
        routes=tuple(_routes(one.get("routes", ""))),
        sources=dict(line.split() for line in rows["source"]),
        no_route_to_services="no_route_to_services" in one,
        container="container" in one,
        installed="installed" in one,
        astray={folder: leads_to for folder, _, leads_to in (link.partition(" ") for link in rows["astray"])},
        links=dict(link.split(" ", 1) for link in rows["link"]),
        held_by=lock.other_holder(one.get("lease", ""), holder),
        etcd_takes_any_peer="etcd_takes_any_peer" in one,
        has_own_lease="has_own_lease" in one,
        identity=_identity(rows),
        etcd=read_on_disk(lines),
        etcd_keys="etcd_keys" in one,
        members=membership.members(one["members"], "") if "members" in one else (),
        no_members=_no_members(one),
        late_settings=tuple(_kernel_setting(setting) for setting in rows["late_setting"]),
        nodes=frozenset(rows["node"]),
        issued=one.get("issued", ""),
        leftovers=frozenset(rows["leftover"]),
        held=Held(*(frozenset(rows[kind]) for kind in ("stored", "running", "pinned"))),
        runs={name: each for name, each in versions.read(rows["runs"]).items() if f"{name}.service" not in found.units},
        stopped=versions.read(rows["stopped"]),
        balanced=frozenset(endpoint.rpartition(":")[0] for endpoint in one.get("balanced", "").split(",") if endpoint),
        tunnels=tuple(_tunnels(rows["tunnels"])),
        rooms=_rooms(rows),
        read_only=frozenset(rows["read_only"]),
        off_path=frozenset(rows["off_path"]),
        processors=_number(one.get("processors", "")),
        kmsg="no_kmsg" not in one,
        selinux="selinux" in one,
        modules_gone="modules_gone" in one,
        modules_lacking=frozenset(rows["module_lacking"]),
        clock_alone="clock_alone" in one,
        brought=found,
    )


def _no_members(one: Mapping[str, str]) -> str:
    if "etcd_keys" not in one or "members" in one:
        return ""
    return f"{one.get('no_members', 'no answer')}, after {one['etcd_keys'] or '?'} s"


def _kernel_setting(line: str) -> KernelSetting:
    file, name, *value = line.split(maxsplit=2)
    return KernelSetting(file, name, *value or [""])


def _rooms(rows: Mapping[str, Sequence[str]]) -> dict[str, Room]:
    rooms = {}
    for folder, counts in (line.split(" ", 1) for line in rows["room"]):
        block, size, free, inodes, free_inodes = map(int, counts.split(" ")[:5])
        options, kind = counts.split(" ", 6)[5:]
        rooms[folder] = Room(
            size=block * size >> 20,
            free=block * free >> 20,
            inodes=inodes,
            free_inodes=free_inodes,
            options=frozenset(options.split(",")),
            kind=kind,
            typeless=folder in rows["typeless"],
        )
    return rooms


def _brought(rows: Mapping[str, Sequence[str]]) -> Brought:
    drop_ins: dict[str, DropIn] = {}
    for line in rows["drop_in"]:
        unit, path, *replaces = line.split(" ")
        drop_ins.setdefault(path, DropIn(unit, path, bool(replaces)))
    return Brought(
        own_units=frozenset(rows["own_unit"]),
        units=dict(line.split(" ", 1) for line in rows["foreign_unit"]),
        drop_ins=tuple(drop_ins.values()),
        others=frozenset(rows["other_unit"]),
        filled=dict(line.split(" ", 1) for line in rows["filled"]),
        replaced=frozenset(rows["replaced"]),
        cni=frozenset(rows["cni"]) - {CNI},
        mounts=frozenset(rows["mounted"]),
        user_without_group=bool(rows["user_without_group"]),
        devices=frozenset(rows["device"]),
        rules=frozenset(rows["rules"]),
        drops=tuple(Chain(*line.split()) for line in rows["drops"]),
        firewalld=frozenset(rows["firewalld"][0].split()) if rows["firewalld"] else None,
        ufw=frozenset(rows["ufw_rule"]) if rows["ufw"] else None,
    )


def _tunnels(lines: Iterable[str]) -> Iterator[Tunnel]:
    for device in (each for line in lines for each in _parsed(line)):
        about = device.get("linkinfo", {}) if device else {}
        data = about.get("info_data", {})
        if data.get("port"):
            # The kernel also compares these flags, not only the port: VXLAN_F_RCV_FLAGS in its vxlan.h.
            apart = any(data.get(flag) for flag in ("external", "gbp", "gpe", "remcsumrx"))
            yield Tunnel(device["ifname"], about["info_kind"], int(data["port"]), int(data.get("id", 0)), apart)


def _identity(rows: Mapping[str, Sequence[str]]) -> Identity:
    authorities = (line.partition(" ") for line in rows["authority"])
    return shown(
        record=_decoded("".join(rows["record"])),
        authorities=[(name, _decoded(content)) for name, _, content in authorities],
        encryption_keys=dict(line.split() for line in rows["encryption_key"]),
        service_accounts=_decoded("".join(rows["service_accounts"])),
        clients=_decoded("".join(rows["clients"])),
        networks=dict(line.partition(" ")[::2] for line in rows["network"]),
        node=next(iter(rows["named"]), ""),
        served=bool(rows["served"]),
    )


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text)
    except ValueError:
        return b""


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _off(clock: int, sent: float, answered: float) -> float:
    """Return the least error of a host's clock, which showed the second `clock` between `sent` and `answered`."""
    return max(clock - answered, 0.0) or min(clock + 1 - sent, 0.0)


def _listeners(rows: Mapping[str, Sequence[str]], ours: frozenset[str]) -> Iterator[Listener]:
    # LISTEN 0 128 127.0.0.1:80 0.0.0.0:* users:(("nginx",pid=12,fd=6),("nginx",pid=13,fd=6))
    lines = [("tcp", line) for line in rows["listener"]] + [("udp", line) for line in rows["udp"]]
    for protocol, line in lines:
        if len(fields := line.split(maxsplit=5)) < 5:
            continue
        address, _, port = fields[3].rpartition(":")
        if holder := re.search(r'\("(?P<name>.*?)",pid=(?P<number>\d+)', line):
            process, is_ours = "{name}, process {number}".format(**holder.groupdict()), holder["number"] in ours
        elif protocol == "udp":
            # A tunnel's port: its device already shows it.
            continue
        else:
            process, is_ours = "no process of this host", False
        yield Listener(address, int(port), process, is_ours, protocol)


def _parsed(text: str) -> list[dict[str, Any]]:
    return json.loads(text) if text else []


def _addresses(text: str) -> Iterator[str]:
    for device in _parsed(text):
        for address in device.get("addr_info", ()):
            if address.get("scope") != "host":
                yield address["local"]


def _routes(text: str) -> Iterator[Route]:
    for route in _parsed(text):
        if route["dst"] != "default" and route.get("table") != "local":
            yield Route(IPv4Network(route["dst"], strict=False), route.get("dev", ""), route.get("gateway", ""))


@cache
def _verdict(state: State) -> list[str]:
    cluster, looks = cluster_of(state.inventory), _looks(state)
    for warning in _warnings(state):
        logger.warning(warning)
    found = _logged([*_refusals(state), *faults(cluster, looks, _arriving(state)), *_too_many_away(state)])
    found = found or _logged(_unlearned(state))
    if not found:
        _log_plan(state)
    return found


def _unlearned(state: State) -> list[str]:
    """Learn which certificates other copies of the state directory issued; return the faults of masters' lists."""
    masters = {_name(host): host for host in hosts_of(state) if host.connected and "masters" in node_of(host).roles}
    lists = {name: each.issued for name, each in _seen(state).items() if name in masters}
    own = pki_of(state.inventory, hosts_of(state)).issued_before
    return [fault for name in unread(own, lists) for fault in _unlearned_from(masters[name])]


def _unlearned_from(master: Host) -> Iterator[str]:
    try:
        succeeded, output = ask(master, f"cat {LISTED}")
    except (OSError, SSHException, EOFError) as error:
        succeeded, output = False, CommandOutput([OutputLine("stderr", f"{type(error).__name__} {error}")])
    if not succeeded:
        yield f"{_name(master)}: does not show {LISTED} ({_last(output.output_lines)}); run again"
        return
    try:
        learn(master, parsed(output.stdout))
    except ValueError as error:
        yield f"{_name(master)}: {LISTED} is not a list of certificates ({error}); remove it there, then run again"


def _warnings(state: State) -> list[str]:
    cluster = cluster_of(state.inventory)
    return [
        *opened(cluster),
        *warnings(cluster, _looks(state)),
        *membership.warnings(addresses(cluster.etcd), _members(state)),
        *_not_compared(state),
    ]


def _not_compared(state: State) -> list[str]:
    """Return the warning that this cluster's members are unknown; a restore makes new ones."""
    served = any(identity.served for identity in _identities(state).values())
    unknown = {name: why for name, host in _seen(state).items() if (why := host.no_members)}
    absent = not {node.name for node in cluster_of(state.inventory).etcd} & _seen(state).keys()
    known = _members(state) or not (unknown or absent)
    if known or not served or runs(choices.RESTORE) or _unrecognized(state):
        return []
    return membership.not_compared(unknown)


def _refusals(state: State) -> list[str]:
    """Return why the hosts must not change to the described state."""
    return [*_unrecognized(state), *_losses(state), *_forbidden_upgrades(state)]


def _arriving(state: State) -> Arriving:
    cluster, supply = cluster_of(state.inventory), supply_of(state.inventory)
    return {name: arriving(cluster.node(name), cluster, supply, host.held) for name, host in _seen(state).items()}


@cache
def _recognition(state: State) -> list[str]:
    found = _logged([*in_use(cluster_of(state.inventory), _looks(state)), *_unrecognized(state), *_resets(state)])
    return found or (_logged(_unlearned(state)) if runs(choices.REMOVE_NODE) else [])


def _logged(found: list[str]) -> list[str]:
    for fault in found:
        logger.error(fault)
    return found


def _unrecognized(state: State) -> list[str]:
    """Return the faults of hosts that do not belong to this run's cluster, or do not fit its description."""
    cluster, identities = cluster_of(state.inventory), _identities(state)
    keys = pki_of(state.inventory, hosts_of(state)).opened.known()
    if runs(choices.RESTORE):
        # Newer tokens and users end with the data that the backup replaces.
        identities = {name: each.without_clients() for name, each in identities.items()}
    if runs(choices.RESET):
        given_up = str(state.inventory.override_data.get("authority", ""))
        return strangers(cluster, {name: each for name, each in identities.items() if not each.has(given_up)}, keys)
    return [*strangers(cluster, identities, keys), *misfits(cluster, identities, keys)]


def _resets(state: State) -> list[str]:
    """Return why a reset would harm the hosts that it leaves out."""
    if not runs(choices.RESET):
        return []
    hosts = addresses(cluster_of(state.inventory).nodes)
    return membership.reset_faults(hosts, _looks(state).keys(), _members_with_health(state))


def _members_with_health(state: State) -> tuple[Member, ...]:
    """Return etcd's members with their health, which no look asks for; empty if no quorum answers."""
    answering = members_seen(cluster_of(state.inventory), _looks(state))
    host = next((each for each in hosts_of(state) if node_of(each) in answering), None)
    return host.get_fact(Members, endpoints=LOCAL) if host else ()


def _losses(state: State) -> list[str]:
    """Return the faults of a deploy that would lose etcd's data or members; none for a restore, which replaces all."""
    if runs(choices.RESTORE):
        return []
    cluster, identities, there = cluster_of(state.inventory), _identities(state), _members(state)
    data = {name: host.etcd.data for name, host in _seen(state).items()}
    found = membership.faults(addresses(cluster.etcd), there, data)
    if not there:
        found += moved_members(cluster, identities)
    if state.inventory.override_data.get("confirm") != cluster.name:
        blank = [name for name, has_data in data.items() if not has_data]
        known = nodes_with_keys() & {node.name for node in cluster.nodes}
        found += lost_data(cluster, identities, blank, elsewhere=known - _looks(state).keys())
    return found


def _forbidden_upgrades(state: State) -> list[str]:
    """Return why the running versions cannot become the described ones."""
    if not _changes_versions():
        return []
    back = state.inventory.override_data.get(choices.DOWNGRADE) == "patch"
    deployed = {name: each.kubernetes for name, each in _identities(state).items()}
    stopped = {name: host.stopped for name, host in _seen(state).items()}
    return upgrade.faults(cluster_of(state.inventory), _running(state), back, deployed, stopped)


def _changes_versions() -> bool:
    """Whether this run changes versions; a restore makes a cluster of its own."""
    return not (runs(choices.RESTORE) or runs(choices.RESTART_NODES))


def _log_plan(state: State) -> None:
    """Log this run's upgrade, and what may block it."""
    cluster, there = cluster_of(state.inventory), _running(state)
    if not _changes_versions():
        return
    links = {name: host.links for name, host in _seen(state).items()}
    pinned = {name: host.held.pinned for name, host in _seen(state).items()}
    plan = upgrade.plan(cluster, there, upgrade.others(cluster, supply_of(state.inventory), links, pinned))
    if not plan:
        return
    for line in plan:
        logger.info(line)
    masters = [host for host in hosts_of(state) if upgrade.API_SERVER in there.get(node_of(host).name, ())]
    lines = dict.fromkeys(line for found in Group().map(_in_the_way, masters) for line in found)
    for warning in upgrade.warnings(cluster, there, lines):
        logger.warning(warning)


def _in_the_way(master: Host) -> list[str]:
    """Return what a master's API server knows that may hinder an upgrade; nothing if it does not answer."""
    own = f"{KUBECTL} --server=https://{node_of(master).address}:{API_PORT} --request-timeout=20s"
    look = shlex.join(["sh", "-c", _IN_THE_WAY, "in-the-way", "/var/log/kubernetes/audit"])
    try:
        _, output = ask(master, f"{look} {own} 2>/dev/null || true")
    except (OSError, SSHException, EOFError):
        return []
    return list(output.stdout_lines)


def _members(state: State) -> tuple[Member, ...]:
    """Return etcd's members as a quorum knows them; empty if no quorum answers."""
    return next(iter(members_seen(cluster_of(state.inventory), _looks(state)).values()), ())


def _identities(state: State) -> Identities:
    return {name: host.identity for name, host in _seen(state).items()}


def running(state: State) -> upgrade.Running:
    """Return the versions that run on each reachable host, by name."""
    with _lock:
        return _running(state)


def _running(state: State) -> upgrade.Running:
    return {name: host.runs for name, host in _seen(state).items()}


def _seen(state: State) -> dict[str, HostSeen]:
    return {name: look for name, look in _looks(state).items() if isinstance(look, HostSeen)}


@cache
def _looks(state: State) -> Looks:
    """Return the state of every host of the run; hosts that may be unreachable, and are, drop out as by --exclude."""
    looks, away = _all_looks(state), _away(state)
    if not _may_be_away(state) or _too_many_away(state):
        return looks
    for host in away:
        logger.warning(f"{host.name}: is unreachable, and is left as it is ({_unreached.get(host.name)})")
    do_without(away)
    return {name: look for name, look in looks.items() if name not in map(_name, away)}


def _may_be_away(state: State) -> bool:
    return runs(choices.DEPLOY) and cluster_of(state.inventory).unreachable != REFUSE


def _too_many_away(state: State) -> list[str]:
    """Return why the run needs its unreachable hosts, if the inventory allows such hosts at all."""
    if not _may_be_away(state):
        return []
    return list(refusals(cluster_of(state.inventory), list(map(_name, _away(state))), len(hosts_of(state))))


def _away(state: State) -> list[Host]:
    """Return the hosts without a connection because nothing answers there."""
    return [host for host in hosts_of(state) if not host.connected and _unseen(host).hindrance is Hindrance.AWAY]


def _name(host: Host) -> str:
    return node_of(host).name


@cache
def _all_looks(state: State) -> Looks:
    """Return the state of every host of the run; a run with changes takes their leases in the same look."""
    hosts = hosts_of(state)
    connected = [host for host in hosts if host in state.active_hosts]
    members = [node.address for node in cluster_of(state.inventory).etcd]
    looks = dict(zip(connected, Group().map(lambda host: _look(host, members), connected), strict=True))
    return {node_of(host).name: looks.get(host) or _unseen(host) for host in hosts}


def _look(host: Host, members: Sequence[str]) -> HostSeen | Unseen:
    holder, cluster, node = lock.holder(), cluster_of(host.inventory), node_of(host)
    sent, since = time.time(), time.monotonic()
    command = script(
        holder,
        members,
        marks=marks(node, cluster),
        paths=written(node, cluster),
        pods=cluster.pod_network,
        modules=sorted(kernel_modules(node, cluster)),
        services=cluster.api_service_address,
    )
    try:
        succeeded, output = ask(host, command)
    except Unreachable as error:
        return Unseen(Hindrance.AWAY, str(error))
    except (OSError, SSHException) as error:
        return Unseen(Hindrance.SILENT, f"{type(error).__name__} {error}".strip())
    except EOFError:
        return Unseen(Hindrance.ROOT, "sudo asks for a password, and there is no one to enter it")
    if not succeeded:
        said = _last(output.output_lines)
        return Unseen(refused(said), said)
    if holder and lock.lease_of(output.stdout_lines) == holder.line:
        lock.keep(host, since)
    return read(output.stdout_lines, sent, time.time(), holder)


def refused(said: str) -> Hindrance:
    """Return why a host runs no command, from the last line of its output."""
    # csh ends a quoted word at the end of its line.
    return Hindrance.SHELL if said.startswith("Unmatched ") else Hindrance.ROOT


def _last(lines: Sequence[str]) -> str:
    return lines[-1].strip() if lines else "no output"


def _unseen(host: Host) -> Unseen:
    said = _unreached.get(host.name, "pyinfra did not connect")
    return Unseen(unconnected(said), said)


def unconnected(said: str) -> Hindrance:
    """Return why there is no connection to a host, from pyinfra's log."""
    if NO_COMMON_ALGORITHM in said:
        return Hindrance.ALGORITHMS
    return _hindrances.get(said.partition(" (")[0], Hindrance.AWAY)


def _report_unreached() -> None:
    if state.current_stage == StateStage.Connect:
        unseen = {node_of(host).name: _unseen(host) for host in state.inventory if host.name in _unreached}
        for fault in faults(cluster_of(state.inventory), unseen):
            logger.error(fault)
