"""The cluster of a pyinfra run: checked before the first connection, and read by every task after it.

A run keeps its new keys, pins and kubeconfigs in memory until `save`. A deploy calls `save` once it has recognized its
hosts and the user has agreed.
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
from kubekeel.revocations import Certificate
from kubekeel.settings.values import API_PORT
from run import choices, lock, order
from run.connection import keep_no_host_keys
from run.insides import cause, command_line, leave_out, read_argument, read_inventory, read_inventory_alone

_STATE_DIR = "KUBEKEEL_STATE_DIR"
_FOLDER = "KUBEKEEL_FOLDER"
_LOCK = "artifacts.lock"
ADMIN_CONF = "admin.conf"
_ISSUED = "kubekeel_issued"
# pyinfra prepares hosts side by side: the first one opens the shared objects, while the others wait.
_lock = Lock()


def prepare() -> None:
    """Check pyinfra's arguments and open the cluster before pyinfra connects; config.py calls this.

    Exits with all faults on stderr and status 1. Only deploys (operations that are .py files) need a
    whole cluster: `exec`, `fact` and the like work with any hosts.
    """
    arguments = _arguments()
    path = Path(arguments["inventory"])
    inventory = _read(path, arguments)
    state_dir = _state_dir(path, inventory)
    # group_data/all.py reads it when pyinfra itself loads the inventory.
    os.environ[_STATE_DIR] = str(state_dir)
    os.environ[_FOLDER] = str(_beside(path).absolute())
    changes = not (is_deploy() and (arguments["dry"] or choices.only_looks(_runs(), inventory.override_data)))
    if changes:
        # pyinfra stores known_hosts there.
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    else:
        keep_no_host_keys()
    if not is_deploy():
        return
    try:
        cluster = _checked(path, inventory, arguments)
        _leave_out(cluster)
        _use_proxies(cluster)
        if changes:
            lock.hold(state_dir)
        if runs(choices.RESTORE):
            backup_of(inventory)
        cluster = _decided(cluster, state_dir)
        pki = _pki(cluster, state_dir, _chosen(inventory, arguments) - cluster.in_maintenance, frozenset())
        if missing := pki.known().missing if choices.of_cluster(_runs()) else ():
            raise PkiError([_no_keys(state_dir / missing[0])])
        if choices.deploys(_runs()):
            manifests_of_run()
            _supply(cluster, state_dir)
    except (InventoryError, ManifestError, PkiError, ArtifactError, BackupError, lock.Busy) as error:
        _refuse(path, error.faults)


def _use_proxies(cluster: Cluster) -> None:
    """Make this program download through the cluster's proxies."""
    for name, value in proxies(cluster).items():
        os.environ.update({name: value, name.lower(): value})


def _leave_out(cluster: Cluster) -> None:
    """Make the run leave out the hosts in maintenance, and name them."""
    absent = cluster.in_maintenance
    for name in sorted(absent):
        logger.warning(f"{name}: is in maintenance, so this run leaves it out")
    if absent:
        leave_out(lambda host: _name(host) in absent)


def is_deploy() -> bool:
    """Whether pyinfra was called with deploys, and not with `exec`, `fact` and the like."""
    return all(operation.endswith(".py") for operation in _arguments()["operations"])


def runs(action: str) -> bool:
    """Whether pyinfra was called with the action in this file."""
    return action in _runs()


def _runs() -> frozenset[str]:
    """Return the names of the files that pyinfra was called with."""
    return frozenset(Path(operation).name for operation in _arguments()["operations"])


@cache
def _arguments() -> Mapping[str, Any]:
    """Return pyinfra's arguments, or defaults for other programs.

    `prepare` must call this first: a host's greenlet does not know the command line.
    """
    return command_line() or {"operations": (), "exclude": ()}


def _no_keys(path: Path) -> str:
    return (
        f"{path}: is missing, so there are no keys of a cluster; put its state directory there, correct state_dir, or"
        " restore it from a backup: actions/restore.py"
    )


def open_inventory(path: Path) -> Inventory:
    """Return the inventory in a file, for programs other than pyinfra."""
    inventory = read_inventory_alone(path)
    os.environ.setdefault(_STATE_DIR, str(_state_dir(path, inventory)))
    os.environ[_FOLDER] = str(_beside(path).absolute())
    return inventory


def described(inventory: Inventory) -> Cluster:
    """Return the cluster as the inventory describes it, without deciding its source of artifacts; writes nothing.

    Raises InventoryError.
    """
    groups = {role: names for role, names in _groups(inventory) if role in ROLES}
    return load(groups, _hosts(inventory), _settings(inventory), Path(os.environ.get(_FOLDER, "")))


def cluster_of(inventory: Inventory) -> Cluster:
    """Return the cluster of all hosts of the inventory, whatever --limit says. Raises InventoryError."""
    with _lock:
        return _cluster_of(inventory)


def node_of(host: Host) -> Node:
    """Return the node of a host of the inventory."""
    return cluster_of(host.inventory).node(_name(host))


@cache
def hosts_of(state: State) -> tuple[Host, ...]:
    """Return the hosts that --limit and --exclude leave in the run."""
    return tuple(host for host in state.inventory if state.is_host_in_limit(host))


def once(host: Host) -> bool:
    """Whether work that is done once, for all hosts, is done in this host's turn."""
    return host.name == min(each.name for each in host.state.inventory.iter_activated_hosts())


def state_dir() -> Path:
    """Return the folder of the cluster's keys, as `prepare` found it."""
    return Path(os.environ[_STATE_DIR])


@cache
def manifests_of_run() -> Tree | None:
    """Return the user's own objects as files of the first master, None without a folder. Raises ManifestError."""
    return manifests.read(_beside(Path(_arguments()["inventory"])) / manifests.FOLDER)


def nodes_with_keys() -> frozenset[str]:
    """Return the names that have keys in the state directory, of nodes of the inventory and of others."""
    return frozenset(path.name for path in (state_dir() / "nodes").glob("*") if path.is_dir())


def pki_of(inventory: Inventory, hosts: Iterable[Host], step: Step | None = None) -> Pki:
    """Return the cluster's PKI with the keys of these hosts, opened once; with `step`, after that step of a rotation.

    Raises PkiError.
    """
    with _lock:
        listed = frozenset[Certificate]().union(*(host.connector_data.get(_ISSUED, ()) for host in inventory))
        arguments = _cluster_of(inventory), state_dir(), frozenset(map(_name, hosts)), listed
        return _rotation(*arguments)[step] if step else _pki(*arguments)


def learn(master: Host, issued: frozenset[Certificate]) -> None:
    """Put the certificates that a master lists as issued into the PKI of this run; call this before its first use."""
    master.connector_data[_ISSUED] = issued


def pki_of_run(state: State, step: Step | None = None) -> Pki:
    """Return the cluster's PKI with the keys of all hosts of the run, as `pki_of` does."""
    return pki_of(state.inventory, hosts_of(state), step)


@cache
def _cluster_of(inventory: Inventory) -> Cluster:
    return _decided(described(inventory), state_dir())


def _decided(cluster: Cluster, state_dir: Path) -> Cluster:
    """Return the cluster with its source of artifacts decided; with "auto" the first saved pins decide for good."""
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
    """Return the files that a backup puts into the state directory."""
    if not runs(choices.RESTORE):
        return {}
    return choices.backup(_override_data(_arguments())).wanted(state_dir)


@cache
def _opened(cluster: Cluster, state_dir: Path, names: frozenset[str]) -> Pki:
    nodes = [node for node in cluster.nodes if node.name in names]
    rotating = choices.roots(_override_data(_arguments())) if runs(choices.ROTATE) else ()
    return Pki.open(state_dir, cluster, nodes=nodes, over=_over(state_dir), rotating=rotating)


@cache
def _pki(cluster: Cluster, state_dir: Path, names: frozenset[str], listed: frozenset[Certificate]) -> Pki:
    """Return the PKI after the run's action; masters have `listed` these certificates."""
    data, pki = _override_data(_arguments()), _opened(cluster, state_dir, names).knowing(listed)
    if runs(choices.ADD_USER):
        return pki.with_user(*choices.user(data))
    if runs(choices.REMOVE_NODE):
        return pki.without_node(str(data["node"]), gone=True)
    if not runs(choices.REVOKE):
        return pki
    if "node" in data:
        return pki.without_node(str(data["node"]))
    return pki.without_user(str(data["user"])) if "user" in data else pki.without_administrators()


@cache
def _rotation(
    cluster: Cluster, state_dir: Path, names: frozenset[str], listed: frozenset[Certificate]
) -> Mapping[Step, Pki]:
    """Return the PKI after each step of the requested rotation."""
    pki, after = _pki(cluster, state_dir, names, listed), {}
    for step in Step:
        pki = after[step] = pki.rotated(choices.roots(_override_data(_arguments())), step)
    return after


def supply_of(inventory: Inventory) -> Supply:
    """Return the downloaded binaries and images of the cluster's nodes. Raises ArtifactError."""
    with _lock:
        return _supply(_cluster_of(inventory), state_dir())


def pinned_supply_of(inventory: Inventory) -> Supply:
    """Return the supply of `supply_of`, and save its pins: for programs that download before the first run."""
    _use_proxies(described(inventory))
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
    """Return the backup to restore; raises BackupError, also if it belongs to another cluster."""
    backup, name = choices.backup(inventory.override_data), _settings(inventory)["cluster_name"]
    if backup.metadata.cluster != name:
        remedy = "give another backup, or correct cluster_name"
        raise BackupError(
            f"{backup.path}: belongs to another cluster ({backup.metadata.cluster}, not {name}); {remedy}"
        )
    return backup


# The files of a run in the state directory.


def is_saved(state: State, pki: Pki) -> bool:
    """Whether the state directory has all files that this run makes for it."""
    folder = state_dir()
    wanted = {**_over(folder), **_kubeconfigs(state, pki)}
    return pki.saved and _pins(folder).saved and {name: read(folder, name) for name in wanted} == wanted


def save(state: State, pki: Pki) -> None:
    """Write this run's keys, pins of artifacts and kubeconfigs into the state directory.

    The files that a backup replaces are kept beside it.
    """
    folder = state_dir()
    put_in_place(folder, _over(folder), datetime.now(UTC))
    pki.save()
    _pins(folder).save(Cache(default_location()))
    for name, content in _kubeconfigs(state, pki).items():
        write_private(folder / name, content)


def _kubeconfigs(state: State, pki: Pki) -> dict[str, bytes]:
    """Return the administrator's and users' kubeconfigs by file name; they name no master that --exclude leaves out."""
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
    """Return the cluster, after a check for unknown groups, unmatched patterns of --limit, and actions' arguments."""
    faults = [*order.faults(arguments), *_pattern_faults(inventory, (*arguments["limit"], *arguments["exclude"]))]
    try:
        # pyinfra also puts all hosts into a group named after the file.
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
    """Return the names of the nodes that --limit and --exclude leave in the run."""
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
    """Return the inventory as pyinfra will load it."""
    if path.suffix == ".py" and not path.is_file():
        _refuse(path, [f"{path}: does not exist; correct the path"])
    try:
        data = _override_data(arguments)
        return read_inventory(path, override_data=data, group_data_directories=arguments["group_data"])
    except Exception as error:
        # The file is the user's own Python, and can raise anything.
        remedy = "correct it; groups are lists of (name, dict), and other names start with '_'"
        _refuse(path, [f"{path}: cannot be read ({_explanation(error)}); {remedy}"])


def _override_data(arguments: Mapping[str, Any]) -> dict[str, Any]:
    data = (item.partition("=") for item in arguments.get("data", ()))
    return {key: read_argument(value) for key, _, value in data}


def _explanation(error: Exception) -> str:
    if not (found := cause(error)):
        return f"{type(error).__name__}: {error}"
    filename, raised = found
    *_, frame = extract_tb(raised.__traceback__)
    return f"{filename}, line {frame.lineno}: {_explanation(raised)}"


def _state_dir(path: Path, inventory: Inventory) -> Path:
    setting = Path(str(_settings(inventory).get("state_dir") or "pki")).expanduser()
    return (_beside(path) / setting).absolute()


def _beside(path: Path) -> Path:
    """Return the folder of an inventory file; if `path` is not a file, the working directory."""
    return path.parent if path.is_file() else Path()


def _name(host: Host) -> str:
    """Return the node's name: pyinfra writes a host without SSH as @connector/NAME."""
    return host.name.rpartition("/")[2] if host.name.startswith("@") else host.name


def _groups(inventory: Inventory) -> Iterator[tuple[str, list[str]]]:
    for name in dict.fromkeys([*inventory.group_data, *inventory.groups]):
        # Groups with an @ belong to pyinfra's connectors.
        if not name.startswith("@"):
            yield name, [_name(host) for host in inventory.get_group(name, [])]


def _hosts(inventory: Inventory) -> dict[str, dict[str, object]]:
    return {
        _name(host): dict(ChainMap(inventory.host_data[host.name], *_group_data(inventory, host))) for host in inventory
    }


def _group_data(inventory: Inventory, host: Host) -> Iterator[dict[str, object]]:
    """Yield the data of a host's groups, strongest first: in pyinfra the last group is the strongest."""
    return (inventory.group_data[group] for group in reversed(host.groups))


def _settings(inventory: Inventory) -> dict[str, Any]:
    chosen = {key: value for key, value in inventory.override_data.items() if not choices.is_choice(key)}
    return {**inventory.data, **chosen}


def _refuse(path: Path, faults: Iterable[str]) -> NoReturn:
    sys.exit("\n".join([f"{path} is refused, no host was contacted:", *(f"  {fault}" for fault in faults)]))
