"""The cluster of a pyinfra run: checked before the first connection, asked for by every task after."""

from __future__ import annotations

import os
import sys
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from threading import Lock
from traceback import extract_tb
from typing import Any, NoReturn

import click
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State
from pyinfra.context import ctx_state
from pyinfra_cli.exceptions import UnexpectedExternalError  # type: ignore[import-untyped]
from pyinfra_cli.inventory import make_inventory  # type: ignore[import-untyped]
from pyinfra_cli.util import parse_cli_arg  # type: ignore[import-untyped]

from kubekeel.artifacts import ArtifactError, Supply, decide_source, supply
from kubekeel.backup import Backup, BackupError
from kubekeel.cluster import ROLES, Cluster, InventoryError, Node, load
from kubekeel.needs import needs
from kubekeel.pki import Pki, PkiError, write_private
from kubekeel.render import user_kubeconfig
from operations import choices, lock, order

_STATE_DIR = "KUBEKEEL_STATE_DIR"
_LOCK = "artifacts.lock"
# pyinfra prepares hosts side by side: what is made once is made by the first, while the others wait.
_lock = Lock()


def prepare() -> None:
    """Check what pyinfra was called with and make what it needs before it connects; config.py calls this.

    Exits with all faults on stderr and status 1. Only deploys (operations that are .py files) need a
    whole cluster: `exec`, `fact` and the like may be used with any hosts.
    """
    arguments = click.get_current_context().params
    path = Path(arguments["inventory"])
    inventory = _read(path, arguments)
    state_dir = _state_dir(path, inventory)
    # group_data/all.py reads it when pyinfra loads the inventory for itself.
    os.environ[_STATE_DIR] = str(state_dir)
    # pyinfra writes known_hosts into it.
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_deploy():
        return
    try:
        cluster = _checked(path, inventory, arguments)
        if not (arguments["dry"] or _only_looks(arguments["operations"])):
            lock.hold(state_dir)
        if choices.RESTORE in map(_file_name, arguments["operations"]):
            backup_of(inventory).unpack_state(state_dir)
        cluster = _decided(cluster, state_dir)
        pki = _pki(cluster, state_dir, _chosen(inventory, arguments))
        if not _only_looks(arguments["operations"]):
            _supply(cluster, state_dir)
        _write_admin_kubeconfig(state_dir, cluster, pki, arguments["exclude"])
    except (InventoryError, PkiError, ArtifactError, BackupError, lock.Busy) as error:
        _refuse(path, error.faults)


def is_deploy() -> bool:
    """Whether pyinfra was called with deploys, not with `exec`, `fact` and the like."""
    return all(operation.endswith(".py") for operation in click.get_current_context().params["operations"])


def _only_looks(operations: Iterable[str]) -> bool:
    return choices.only_looks(map(_file_name, operations))


def _file_name(operation: str) -> str:
    return Path(operation).name


def open_inventory(path: Path) -> Inventory:
    """The inventory in a file, for programs other than pyinfra."""
    # pyinfra notes in its state which file it is reading.
    with ctx_state.use(State()):
        inventory: Inventory = make_inventory(str(path), cwd=os.getcwd())
    os.environ.setdefault(_STATE_DIR, str(_state_dir(path, inventory)))
    return inventory


def described(inventory: Inventory) -> Cluster:
    """The cluster as the inventory describes it, whose source of artifacts may be left to decide; nothing is written.

    Raises InventoryError.
    """
    groups = {role: names for role, names in _groups(inventory) if role in ROLES}
    return load(groups, _hosts(inventory), _settings(inventory))


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


def pki_of(inventory: Inventory, hosts: Iterable[Host]) -> Pki:
    """The cluster's PKI with what is of these hosts, opened once; raises PkiError."""
    with _lock:
        return _pki(_cluster_of(inventory), state_dir(), frozenset(map(_name, hosts)))


@cache
def _cluster_of(inventory: Inventory) -> Cluster:
    return _decided(described(inventory), state_dir())


def _decided(cluster: Cluster, state_dir: Path) -> Cluster:
    """The cluster with the source of its artifacts decided, for good where the setting is "auto"."""
    source = decide_source(
        kubernetes_version=cluster.kubernetes_version,
        source=cluster.artifact_source,
        mirror=cluster.artifact_mirror,
        lock=state_dir / _LOCK,
    )
    return cluster.supplied_from(source)


@cache
def _pki(cluster: Cluster, state_dir: Path, names: frozenset[str]) -> Pki:
    return Pki.open(state_dir, cluster, nodes=[node for node in cluster.nodes if node.name in names])


def supply_of(inventory: Inventory) -> Supply:
    """The binaries and images of the cluster's nodes, in hand; raises ArtifactError."""
    with _lock:
        return _supply(_cluster_of(inventory), state_dir())


@cache
def _supply(cluster: Cluster, state_dir: Path) -> Supply:
    return supply(
        [needs(node, cluster) for node in cluster.nodes],
        kubernetes_version=cluster.kubernetes_version,
        source=cluster.artifact_source,
        mirror=cluster.artifact_mirror,
        lock=state_dir / _LOCK,
    )


def backup_of(inventory: Inventory) -> Backup:
    """The backup that is to be restored, of this cluster; raises BackupError."""
    given, name = inventory.override_data, _settings(inventory)["cluster_name"]
    path = Path(str(given["backup"])).expanduser()
    backup = choices.opened_backup(path, str(given.get("passphrase_file", "")))
    if backup.metadata.cluster != name:
        remedy = "give another backup, or correct cluster_name"
        raise BackupError(f"{path}: is of another cluster ({backup.metadata.cluster}, not {name}); {remedy}")
    return backup


def _write_admin_kubeconfig(state_dir: Path, cluster: Cluster, pki: Pki, excluded: Iterable[str]) -> None:
    """The user's own way into the cluster, renewed with its certificate; past masters that are left out for good."""
    left = [node for node in cluster.masters if not any(fnmatch(node.name, pattern) for pattern in excluded)]
    server = f"https://{(left or cluster.masters)[0].address}:6443"
    kubeconfig = user_kubeconfig(cluster, "kubernetes-admin", pki.control("admin"), pki.authority("ca"), server)
    write_private(state_dir / "admin.conf", kubeconfig)


def _checked(path: Path, inventory: Inventory, arguments: Mapping[str, Any]) -> Cluster:
    """The cluster, checked for foreign groups, idle --limit patterns and what actions are told besides."""
    faults = [*order.faults(arguments), *_pattern_faults(inventory, (*arguments["limit"], *arguments["exclude"]))]
    try:
        # pyinfra puts all hosts into a group called after the file, too.
        groups = {name: names for name, names in _groups(inventory) if name in ROLES or name != path.stem}
        cluster = load(groups, _hosts(inventory), _settings(inventory))
    except InventoryError as error:
        faults += error.faults
    else:
        for action in map(_file_name, arguments["operations"]):
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
        _refuse(path, [f"{path}: there is no such file; correct the path"])
    data = [item.partition("=") for item in arguments["data"]]
    try:
        inventory: Inventory = make_inventory(
            str(path),
            override_data={key: parse_cli_arg(value) for key, _, value in data},
            cwd=os.getcwd(),
            group_data_directories=arguments["group_data"],
        )
        return inventory
    except Exception as error:
        # The file is the user's own Python: anything may be raised.
        remedy = "correct it; groups are lists of (name, dict), and other names start with '_'"
        _refuse(path, [f"{path}: cannot be read ({_told(error)}); {remedy}"])


def _told(error: Exception) -> str:
    if not isinstance(error, UnexpectedExternalError):
        return f"{type(error).__name__}: {error}"
    *_, frame = extract_tb(error.exception.__traceback__)
    return f"{error.filename}, line {frame.lineno}: {_told(error.exception)}"


def _state_dir(path: Path, inventory: Inventory) -> Path:
    folder = path.parent if path.is_file() else Path()
    setting = Path(str(_settings(inventory).get("state_dir") or "pki")).expanduser()
    return (folder / setting).absolute()


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
