"""The cluster of a pyinfra run: checked before the first connection, asked for by every task after.

What a run makes of keys, pins and kubeconfigs is in memory until `save`, which a deploy calls once its hosts were
recognized and nobody said no.
"""

from __future__ import annotations

import os
import sys
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from threading import Lock
from traceback import extract_tb
from typing import Any, NoReturn

import click
from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State

from kubekeel import manifests
from kubekeel.artifacts import Archive, ArtifactError, Cache, Pins, Supply, decide_source, default_location, supply
from kubekeel.backup import Backup, BackupError, put_in_place
from kubekeel.cluster import ROLES, Cluster, InventoryError, Node, load
from kubekeel.files import Tree
from kubekeel.keyfolder import PkiError, read, write_private
from kubekeel.manifests import ManifestError
from kubekeel.needs import needs
from kubekeel.pki import USERS, Pki, Step
from kubekeel.registries import proxies
from kubekeel.render import user_kubeconfig
from kubekeel.settings.values import API_PORT
from run import choices, lock, order
from run.connection import keep_no_host_keys
from run.insides import cause, leave_out, read_argument, read_inventory, read_inventory_alone

_STATE_DIR = "KUBEKEEL_STATE_DIR"
_FOLDER = "KUBEKEEL_FOLDER"
_LOCK = "artifacts.lock"
ADMIN_CONF = "admin.conf"
# pyinfra prepares hosts side by side: what is made once is made by the first, while the others wait.
_lock = Lock()


def prepare() -> None:
    """Check what pyinfra was called with and make what it needs before it connects; config.py calls this.

    Exits with all faults on stderr and status 1. Only deploys (operations that are .py files) need a
    whole cluster: `exec`, `fact` and the like may be used with any hosts.
    """
    arguments = _arguments()
    path = Path(arguments["inventory"])
    inventory = _read(path, arguments)
    state_dir = _state_dir(path, inventory)
    # group_data/all.py reads it when pyinfra loads the inventory for itself.
    os.environ[_STATE_DIR] = str(state_dir)
    os.environ[_FOLDER] = str(_beside(path).absolute())
    changes = not (is_deploy() and (arguments["dry"] or choices.only_looks(_runs(), inventory.override_data)))
    if changes:
        # pyinfra writes known_hosts into it.
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif not state_dir.is_dir():
        keep_no_host_keys()
    if not is_deploy():
        return
    try:
        cluster = _checked(path, inventory, arguments)
        _leave_out(cluster)
        _go_by_proxies(cluster)
        if changes:
            lock.hold(state_dir)
        if runs(choices.RESTORE):
            backup_of(inventory)
        cluster = _decided(cluster, state_dir)
        pki = _pki(cluster, state_dir, _chosen(inventory, arguments) - cluster.in_maintenance)
        if missing := pki.known().missing if choices.of_cluster(_runs()) else ():
            raise PkiError([_no_keys(state_dir / missing[0])])
        if choices.deploys(_runs()):
            manifests_of_run()
            _supply(cluster, state_dir)
    except (InventoryError, ManifestError, PkiError, ArtifactError, BackupError, lock.Busy) as error:
        _refuse(path, error.faults)


def _go_by_proxies(cluster: Cluster) -> None:
    """Have what this program downloads come by the proxies that are set."""
    for name, value in proxies(cluster).items():
        os.environ.update({name: value, name.lower(): value})


def _leave_out(cluster: Cluster) -> None:
    """Have the run do without the hosts in maintenance, and name them."""
    absent = cluster.in_maintenance
    for name in sorted(absent):
        logger.warning(f"{name}: is in maintenance, so this run leaves it out")
    if absent:
        leave_out(lambda host: _name(host) in absent)


def is_deploy() -> bool:
    """Whether pyinfra was called with deploys, not with `exec`, `fact` and the like."""
    return all(operation.endswith(".py") for operation in _arguments()["operations"])


def runs(action: str) -> bool:
    """Whether pyinfra was called with the action in this file."""
    return action in _runs()


def _runs() -> frozenset[str]:
    """The names of the files that pyinfra was called with."""
    return frozenset(Path(operation).name for operation in _arguments()["operations"])


@cache
def _arguments() -> Mapping[str, Any]:
    """What pyinfra was called with, or other programs in its place; `prepare` is the first to ask.

    In the greenlets of hosts click has no context.
    """
    context = click.get_current_context(silent=True)
    return context.params if context else {"operations": (), "exclude": ()}


def _no_keys(path: Path) -> str:
    return (
        f"{path}: is missing, so there are no keys of a cluster; put its state directory there, correct state_dir, or"
        " restore it from a backup: actions/restore.py"
    )


def open_inventory(path: Path) -> Inventory:
    """The inventory in a file, for programs other than pyinfra."""
    inventory = read_inventory_alone(path)
    os.environ.setdefault(_STATE_DIR, str(_state_dir(path, inventory)))
    os.environ[_FOLDER] = str(_beside(path).absolute())
    return inventory


def described(inventory: Inventory) -> Cluster:
    """The cluster as the inventory describes it, whose source of artifacts may be left to decide; nothing is written.

    Raises InventoryError.
    """
    groups = {role: names for role, names in _groups(inventory) if role in ROLES}
    return load(groups, _hosts(inventory), _settings(inventory), Path(os.environ.get(_FOLDER, "")))


def cluster_of(inventory: Inventory) -> Cluster:
    """The cluster of all hosts of the inventory, --limit or not; raises InventoryError."""
    with _lock:
        return _cluster_of(inventory)


def node_of(host: Host) -> Node:
    """The node that a host of the inventory is."""
    return cluster_of(host.inventory).node(_name(host))


@cache
def hosts_of(state: State) -> tuple[Host, ...]:
    """Those that --limit and --exclude leave in the run."""
    return tuple(host for host in state.inventory if state.is_host_in_limit(host))


def state_dir() -> Path:
    """The folder of the cluster's keys, as `prepare` found it."""
    return Path(os.environ[_STATE_DIR])


@cache
def manifests_of_run() -> Tree | None:
    """The user's own objects, as the first master keeps them, None without a folder; raises ManifestError."""
    return manifests.read(_beside(Path(_arguments()["inventory"])) / manifests.FOLDER)


def nodes_with_keys(cluster: Cluster) -> frozenset[str]:
    """The names of the nodes that some run had keys for."""
    return frozenset(node.name for node in cluster.nodes if (state_dir() / "nodes" / node.name).is_dir())


def pki_of(inventory: Inventory, hosts: Iterable[Host], step: Step | None = None) -> Pki:
    """The cluster's PKI with what is of these hosts, opened once, and after a step of a rotation; raises PkiError."""
    with _lock:
        made_of = _cluster_of(inventory), state_dir(), frozenset(map(_name, hosts))
        return _rotation(*made_of)[step] if step else _pki(*made_of)


def pki_of_run(state: State, step: Step | None = None) -> Pki:
    """The same with what is of all hosts of the run."""
    return pki_of(state.inventory, hosts_of(state), step)


@cache
def _cluster_of(inventory: Inventory) -> Cluster:
    return _decided(described(inventory), state_dir())


def _decided(cluster: Cluster, state_dir: Path) -> Cluster:
    """The cluster with the source of its artifacts decided, for good once that is saved where the setting is "auto"."""
    source = decide_source(
        kubernetes_version=cluster.kubernetes_version,
        source=cluster.artifact_source,
        mirror=cluster.artifact_mirror,
        pins=_pins(state_dir),
    )
    return cluster.supplied_from(source)


@cache
def _pins(state_dir: Path) -> Pins:
    return Pins(state_dir / _LOCK, instead=_over(state_dir).get(_LOCK))


@cache
def _over(state_dir: Path) -> Mapping[str, bytes]:
    """What is to be put into the state directory out of a backup."""
    if not runs(choices.RESTORE):
        return {}
    return choices.backup(_override_data(_arguments())).wanted(state_dir)


@cache
def _pki(cluster: Cluster, state_dir: Path, names: frozenset[str]) -> Pki:
    nodes = [node for node in cluster.nodes if node.name in names]
    given = _override_data(_arguments())
    rotating = choices.roots(given) if runs(choices.ROTATE) else ()
    pki = Pki.open(state_dir, cluster, nodes=nodes, over=_over(state_dir), rotating=rotating)
    if runs(choices.ADD_USER):
        return pki.with_user(*choices.user(given))
    if runs(choices.REMOVE_NODE):
        return pki.without_node(str(given["node"]), gone=True)
    if not runs(choices.REVOKE):
        return pki
    if "node" in given:
        return pki.without_node(str(given["node"]))
    return pki.without_user(str(given["user"])) if "user" in given else pki.without_administrators()


@cache
def _rotation(cluster: Cluster, state_dir: Path, names: frozenset[str]) -> Mapping[Step, Pki]:
    """The PKI after each step of the rotation that was asked for."""
    pki, after = _pki(cluster, state_dir, names), {}
    for step in Step:
        pki = after[step] = pki.rotated(choices.roots(_override_data(_arguments())), step)
    return after


def supply_of(inventory: Inventory) -> Supply:
    """The binaries and images of the cluster's nodes, in hand; raises ArtifactError."""
    with _lock:
        return _supply(_cluster_of(inventory), state_dir())


def pinned_supply_of(inventory: Inventory) -> Supply:
    """The same, pinned for the runs to come: for a program that gets the artifacts before any run does."""
    _go_by_proxies(described(inventory))
    found, folder = supply_of(inventory), state_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _pins(folder).save(Cache(default_location()))
    return found


@cache
def _supply(cluster: Cluster, state_dir: Path) -> Supply:
    return supply(
        [needs(node, cluster) for node in cluster.nodes],
        kubernetes_version=cluster.kubernetes_version,
        versions=cluster.versions,
        source=cluster.artifact_source,
        mirror=cluster.artifact_mirror,
        pins=_pins(state_dir),
        archives=[Archive(path, each.pinned) for each in cluster.images for path in cluster.files(each.files)],
    )


def backup_of(inventory: Inventory) -> Backup:
    """The backup that is to be restored, of this cluster; raises BackupError."""
    backup, name = choices.backup(inventory.override_data), _settings(inventory)["cluster_name"]
    if backup.metadata.cluster != name:
        remedy = "give another backup, or correct cluster_name"
        raise BackupError(
            f"{backup.path}: belongs to another cluster ({backup.metadata.cluster}, not {name}); {remedy}"
        )
    return backup


# What a run leaves in the state directory.


def is_saved(state: State, pki: Pki) -> bool:
    """Whether the state directory has all that this run has made for it."""
    folder = state_dir()
    wanted = {**_over(folder), **_kubeconfigs(state, pki)}
    return pki.saved and _pins(folder).saved and {name: read(folder, name) for name in wanted} == wanted


def save(state: State, pki: Pki) -> None:
    """Put what this run has made into the state directory: keys, the pins of artifacts, kubeconfigs.

    What a backup replaces is kept beside it.
    """
    folder = state_dir()
    put_in_place(folder, _over(folder), datetime.now(UTC))
    pki.save()
    _pins(folder).save(Cache(default_location()))
    for name, content in _kubeconfigs(state, pki).items():
        write_private(folder / name, content)


def _kubeconfigs(state: State, pki: Pki) -> dict[str, bytes]:
    """The administrator's way into the cluster, and users', by their files; past masters that are left out for good."""
    cluster = cluster_of(state.inventory)
    excluded = _arguments()["exclude"]
    up = [node for node in cluster.masters if not node.maintenance]
    left = [node for node in up if not any(fnmatch(node.name, pattern) for pattern in excluded)]
    address = cluster.api_vip or (left or cluster.masters)[0].address
    server = f"https://{cluster.api_endpoint or f'{address}:{API_PORT}'}"
    pairs = {ADMIN_CONF: ("kubernetes-admin", pki.control("admin"))}
    pairs |= {f"{USERS}/{name}.conf": (name, pair) for name, pair in pki.users.items()}
    return {
        file: user_kubeconfig(cluster, name, pair, pki.authority("ca"), server) for file, (name, pair) in pairs.items()
    }


def _checked(path: Path, inventory: Inventory, arguments: Mapping[str, Any]) -> Cluster:
    """The cluster, checked for foreign groups, idle --limit patterns and what actions are told besides."""
    faults = [*order.faults(arguments), *_pattern_faults(inventory, (*arguments["limit"], *arguments["exclude"]))]
    try:
        # pyinfra puts all hosts into a group called after the file, too.
        groups = {name: names for name, names in _groups(inventory) if name in ROLES or name != path.stem}
        cluster = load(groups, _hosts(inventory), _settings(inventory), _beside(path).absolute())
    except InventoryError as error:
        faults += error.faults
    else:
        absent = cluster.in_maintenance
        if not faults and absent and not _chosen(inventory, arguments) - absent:
            names, remedy = ", ".join(sorted(absent)), "end it in the inventory for one of them"
            faults.append(f"maintenance: leaves no host in this run ({names}); {remedy}")
        for action in sorted(_runs()):
            faults += choices.faults(action, inventory.override_data, cluster)
    if faults:
        raise InventoryError(faults)
    return cluster


def _chosen(inventory: Inventory, arguments: Mapping[str, Any]) -> frozenset[str]:
    """The names of those whom --limit and --exclude leave in the run."""
    limited = {host for pattern in arguments["limit"] or ("*",) for host in _matching(inventory, pattern)}
    excluded = {host for pattern in arguments["exclude"] for host in _matching(inventory, pattern)}
    return frozenset(map(_name, limited - excluded))


def _matching(inventory: Inventory, pattern: str) -> list[Host]:
    if pattern in inventory.groups:
        return list(inventory.get_group(pattern))
    return [host for host in inventory if fnmatch(host.name, pattern)]


def _pattern_faults(inventory: Inventory, patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        if not _matching(inventory, pattern):
            names = ", ".join(host.name for host in inventory)
            yield f"--limit or --exclude: matches no host or group ({pattern}); the hosts are {names}"


def _read(path: Path, arguments: Mapping[str, Any]) -> Inventory:
    """The inventory as pyinfra is going to load it."""
    if path.suffix == ".py" and not path.is_file():
        _refuse(path, [f"{path}: does not exist; correct the path"])
    try:
        data = _override_data(arguments)
        return read_inventory(path, override_data=data, group_data_directories=arguments["group_data"])
    except Exception as error:
        # The file is the user's own Python: anything may be raised.
        remedy = "correct it; groups are lists of (name, dict), and other names start with '_'"
        _refuse(path, [f"{path}: cannot be read ({_told(error)}); {remedy}"])


def _override_data(arguments: Mapping[str, Any]) -> dict[str, Any]:
    data = (item.partition("=") for item in arguments.get("data", ()))
    return {key: read_argument(value) for key, _, value in data}


def _told(error: Exception) -> str:
    if not (found := cause(error)):
        return f"{type(error).__name__}: {error}"
    filename, raised = found
    *_, frame = extract_tb(raised.__traceback__)
    return f"{filename}, line {frame.lineno}: {_told(raised)}"


def _state_dir(path: Path, inventory: Inventory) -> Path:
    setting = Path(str(_settings(inventory).get("state_dir") or "pki")).expanduser()
    return (_beside(path) / setting).absolute()


def _beside(path: Path) -> Path:
    """The folder of an inventory file; where it is not one, this folder."""
    return path.parent if path.is_file() else Path()


def _name(host: Host) -> str:
    """The node's name: @connector/NAME is how pyinfra writes a host that is not reached over SSH."""
    return host.name.rpartition("/")[2] if host.name.startswith("@") else host.name


def _groups(inventory: Inventory) -> Iterator[tuple[str, list[str]]]:
    for name in dict.fromkeys([*inventory.group_data, *inventory.groups]):
        # Groups with an @ are those of pyinfra's connectors.
        if not name.startswith("@"):
            yield name, [_name(host) for host in inventory.get_group(name, [])]


def _hosts(inventory: Inventory) -> dict[str, dict[str, object]]:
    return {
        _name(host): dict(ChainMap(inventory.host_data[host.name], *_group_data(inventory, host))) for host in inventory
    }


def _group_data(inventory: Inventory, host: Host) -> Iterator[dict[str, object]]:
    """The data of a host's groups, strongest first: for pyinfra that is the last one's."""
    return (inventory.group_data[group] for group in reversed(host.groups))


def _settings(inventory: Inventory) -> dict[str, Any]:
    chosen = {key: value for key, value in inventory.override_data.items() if not choices.is_choice(key)}
    return {**inventory.data, **chosen}


def _refuse(path: Path, faults: Iterable[str]) -> NoReturn:
    sys.exit("\n".join([f"{path} is refused, no host was contacted:", *(f"  {fault}" for fault in faults)]))
