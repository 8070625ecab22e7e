"""Backups: a new snapshot of etcd with the cluster's keys, copied here, and how to restore it."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from paramiko import SSHException
from pyinfra import host, inventory, logger, state
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel import backup as archive
from kubekeel.backup import Backup, BackupError
from kubekeel.durable import unwritten
from kubekeel.files import Directory, Tree
from kubekeel.membership import RESTORING, not_restorable, without_room
from kubekeel.needs import STATIC_PODS
from kubekeel.preflight import HostSeen, Room, Unseen
from kubekeel.render import BIN, etcd_first_start
from operations import static_pods
from operations.converge import put, refuse
from operations.members import FIRST_START, on_disks
from operations.preflight import looks
from operations.snapshots import newest
from run.ask import ask
from run.choices import passphrase
from run.connection import Unreachable
from run.inventory import cluster_of, node_of, state_dir
from run.stream import PIECE, Broken, fetch, send

_STAGED = "/var/lib/etcd/.restored"
_SNAPSHOT = "/var/lib/etcd/.snapshot.db"
# On etcd's own disk, if it has one: data that change their disk take room there, and hours.
_REPLACED = "/var/lib/etcd/replaced"
_CLEAR = f"rm -rf {_STAGED} {_SNAPSHOT}"
_TAKE_OVER = f"""
set -eu
umask 077
if [ -e /var/lib/etcd/member ]; then
  mkdir -p {_REPLACED}
  mv /var/lib/etcd/member {_REPLACED}/$(date -u +%Y-%m-%dT%H%M%SZ)
fi
mv {_STAGED}/member /var/lib/etcd/member
rm -r {_STAGED}
"""


@operation()
def bring(to: str, passphrase_file: str) -> Generator[FunctionCommand, None, None]:
    """Write a backup on this computer, with a new snapshot of a healthy member."""
    yield FunctionCommand(_bring, (to, passphrase_file), {})


def _bring(state: State, host: Host, to: str, passphrase_file: str) -> bool:  # noqa: ARG001 - pyinfra's signature
    cluster, snapshot = cluster_of(state.inventory), state_dir() / "snapshot.db.new"
    path = Path(to).expanduser() if to else archive.default_path(state_dir(), cluster, datetime.now(UTC))
    try:
        phrase = passphrase(passphrase_file, new=True)
        taken = newest(state)
        fetch(taken.host, taken.path, snapshot)
        made = archive.write(path.absolute(), phrase, state_dir(), cluster, node_of(taken.host).name, snapshot)
    except (BackupError, Broken) as error:
        logger.error(error)
        return False
    except Unreachable as error:
        logger.error(error.fault)
        return False
    except OSError as error:
        logger.error(unwritten(error, path.absolute()))
        return False
    finally:
        with suppress(OSError):
            snapshot.unlink(missing_ok=True)
    print(f"{path.absolute()}: {made.size / 2**20:.1f} MiB of etcd from {made.member}, {len(made.files)} files")
    return True


# Restore


@operation()
def agree(confirmed: bool, size: int) -> Generator[StringCommand, None, None]:
    """Fail without all members, if one has no room for a snapshot of `size` bytes, or, unless `confirmed`, has data."""
    cluster, there = cluster_of(inventory), looks(state)
    free = {node.name: room.free for node in cluster.etcd if (room := _room(there.get(node.name)))}
    reasons = [*not_restorable(on_disks(state, cluster), confirmed), *without_room(free, size)]
    if reasons:
        yield refuse(f"{host.name}: nothing is restored, since {'; '.join(reasons)}")
    else:
        host.noop("may be restored")


def _room(look: HostSeen | Unseen | None) -> Room | None:
    return look.rooms.get("/var/lib/etcd") if isinstance(look, HostSeen) else None


@operation()
def stop_api_server() -> Generator[StringCommand, None, None]:
    """Stop the API server and its companions, which know the cluster's former data."""
    yield StringCommand(
        "systemctl stop kubelet.service 2>/dev/null; [ ! -S /run/containerd/containerd.sock ] ||"
        f" {static_pods.stop(node_of(host), *STATIC_PODS)}"
    )


@operation()
def stop_flannel() -> Generator[StringCommand, None, None]:
    """Stop flannel, which watches leases that the backup lacks; its network keeps working."""
    yield StringCommand("systemctl stop flanneld.service 2>/dev/null || true")


@operation()
def stage(backup: Backup, tools: Tree) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Make this member's data from the backup's snapshot by etcd's own tools, beside the present data."""
    cluster, node = cluster_of(inventory), node_of(host)
    yield StringCommand(f"systemctl stop etcd.service 2>/dev/null; {_CLEAR}")
    # After this no deploy starts a new cluster here, even if the restore is interrupted.
    yield put(
        {
            **tools,
            "/etc/etcd": Directory(),
            "/var/lib/etcd": Directory(0o700, "etcd:etcd"),
            FIRST_START: etcd_first_start(cluster, RESTORING, cluster.etcd_initial_cluster),
        }
    )
    yield FunctionCommand(_send, (backup,), {})
    # A different token makes a different cluster: it refuses members of the old cluster that come back. A higher
    # revision shows the watchers that their data is stale.
    token = f"{cluster.name}-{backup.metadata.snapshot[:12]}"
    yield StringCommand(
        " ".join(
            (
                f"{BIN}/etcdutl snapshot restore {_SNAPSHOT} --data-dir={_STAGED} --name={node.name}",
                f"--initial-cluster={cluster.etcd_initial_cluster} --initial-cluster-token={shlex.quote(token)}",
                f"--initial-advertise-peer-urls={node.peer_url} --bump-revision=1000000000 --mark-compacted",
                f"&& rm {_SNAPSHOT} && chown -R etcd:etcd {_STAGED} || {{ {_CLEAR}; exit 1; }}",
            )
        )
    )


def _send(state: State, host: Host, backup: Backup) -> bool:  # noqa: ARG001 - pyinfra's signature
    try:
        send(host, backup.snapshot(PIECE), _SNAPSHOT)
    except (BackupError, Broken) as error:
        logger.error(error)
        # A part of it would fill etcd's disk.
        with suppress(OSError, SSHException, EOFError):
            ask(host, _CLEAR)
        return False
    return True


@operation()
def take_over() -> Generator[StringCommand, None, None]:
    """Move the present data aside and the restored data into its place; call this once all members are staged."""
    yield StringCommand(_TAKE_OVER)
