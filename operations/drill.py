"""A drill: restore a backup's snapshot to verify it, on this computer or on a member's host, and delete the copy."""

from __future__ import annotations

import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from kubekeel.backup import Backup, BackupError, put_in_place
from kubekeel.drill import Drill
from kubekeel.keyfolder import PkiError
from kubekeel.pki import Pki
from kubekeel.release import MACHINES
from kubekeel.render import BIN, PROJECT
from kubekeel.scratch import scratch
from kubekeel.shell import script
from run.ask import ask
from run.choices import opened_backup
from run.inventory import cluster_of, hosts_of, node_of, state_dir, supply_of
from run.stream import PIECE, Broken, send
from run.waits import show_wait

_SCRIPT = PROJECT / "files/etcd/verify-snapshot.sh"
_BINARIES = ("etcd", "etcdctl", "etcdutl")
_WIDTH = 120
# Longer than its script waits for etcd.
_PATIENCE = 4 * 3600
# Room for the snapshot and its restored data, and spare bytes for etcd's log.
_COPIES, _SPARE = 2, 256 << 20


@operation()
def verify(file: str, passphrase_file: str) -> Generator[FunctionCommand, None, None]:
    """Restore a backup into a temporary etcd, print its contents, and fail unless all of it can be read."""
    yield FunctionCommand(_verify, (file, passphrase_file), {})


def _verify(state: State, host: Host, file: str, passphrase_file: str) -> bool:  # noqa: ARG001 - pyinfra's signature
    path = Path(file).expanduser().absolute()
    try:
        backup = opened_backup(path, passphrase_file)
        drill, faults = _drilled(state, backup)
    except (BackupError, PkiError) as error:
        faults = list(error.faults)
    except (Broken, OSError) as error:
        faults = [str(error)]
    else:
        about = backup.metadata
        print(f"{about.cluster}, {about.kubernetes_version}, of {about.member}, {about.taken}, revision {drill.served}")
        Console(width=None if sys.stdout.isatty() else _WIDTH).print(table(drill))
    for fault in faults:
        logger.error(fault)
    print(f"{path}: {'not all of it can be restored' if faults else 'can be restored'}")
    return not faults


def _drilled(state: State, backup: Backup) -> tuple[Drill, list[str]]:
    """Return the drill's result, and its faults."""
    cluster, size = cluster_of(state.inventory), backup.metadata.size
    place = state_dir().parent
    if (free := shutil.disk_usage(place).free) < _COPIES * size + _SPARE:
        needed = (_COPIES * size + _SPARE) >> 20
        raise BackupError(f"{place}: has too little room for a drill ({free >> 20} MiB free, {needed} needed)")
    with scratch(place, ".kubekeel-verify-") as folder:
        put_in_place(folder / "pki", backup.wanted(folder / "pki"), datetime.now(UTC))
        member = cluster.etcd[0]
        pki = Pki.open(folder / "pki", cluster, nodes=[member])
        files = {"ca.crt": pki.authority("etcd-ca")}
        for name in ("server", "root"):
            pair = pki.leaf(member.name, f"etcd-{name}")
            files |= {f"{name}.crt": pair.cert, f"{name}.key": pair.key}
        if binaries := _own_binaries(state):
            lines = _here(folder, files, backup, binaries)
        else:
            lines = _there(state, files, backup)
        drill = Drill.read(lines)
        return drill, list(drill.faults(pki.encryption_keys))


def _own_binaries(state: State) -> Mapping[str, Path]:
    """Return etcd's programs for this computer, if a host of the cluster has the same architecture."""
    supply = supply_of(state.inventory)
    try:
        arch = MACHINES[platform.machine()]
        return {name: supply.binary(name, arch).path for name in _BINARIES} if sys.platform == "linux" else {}
    except KeyError:
        return {}


def _here(folder: Path, files: Mapping[str, bytes], backup: Backup, binaries: Mapping[str, Path]) -> list[str]:
    (folder / "bin").mkdir()
    for name, binary in binaries.items():
        (folder / "bin" / name).symlink_to(binary)
    for name, content in files.items():
        (folder / name).touch(0o600)
        (folder / name).write_bytes(content)
    (folder / "snapshot.db").touch(0o600)
    with (folder / "snapshot.db").open("wb") as snapshot:
        snapshot.writelines(backup.snapshot(PIECE))
    done = subprocess.run(
        ["sh", _SCRIPT, folder, folder / "bin"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise BackupError(f"{backup.path}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def _there(state: State, files: Mapping[str, bytes], backup: Backup) -> list[str]:
    hosts = [each for each in hosts_of(state) if each.connected and "etcd" in node_of(each).roles]
    if not hosts:
        raise BackupError("etcd: all of its hosts are unreachable, and this computer cannot run their binaries")
    host = hosts[0]
    needed = (_COPIES * backup.metadata.size + _SPARE) >> 10
    folder = _output(host, script("etcd/drill-folder.sh", needed=[f"{needed}"]))[-1]
    try:
        for name, content in files.items():
            send(host, [content], f"{folder}/{name}")
        send(host, backup.snapshot(PIECE), f"{folder}/snapshot.db")
        return _trial(host, folder)
    finally:
        _output(host, f"rm -rf {shlex.quote(folder)}")


def _trial(host: Host, folder: str) -> list[str]:
    with show_wait(host, "the trial restore"):
        return _output(host, _drill(folder))


def _drill(folder: str) -> str:
    """Return a script: the drill in this folder, which the host itself deletes even if nobody is connected any more."""
    place = shlex.quote(folder)
    return f"(\nset -- {place} {BIN}\n{_SCRIPT.read_text()})\ncode=$?\nrm -rf {place}\nexit $code"


def _output(host: Host, script: str) -> list[str]:
    try:
        succeeded, output = ask(host, script, _PATIENCE, quiet=True)
    except (SSHException, EOFError) as error:
        raise Broken(f"{host.name}: {type(error).__name__} {error}") from error
    if not succeeded:
        raise Broken(f"{host.name}: {' '.join(output.stderr_lines)}")
    return output.stdout_lines


def table(drill: Drill) -> Table:
    """Return a table with a row for each kind of objects, and the keys that encrypt them."""
    shown = Table("kind", "objects", "encrypted with", box=SIMPLE)
    shown.columns[1].justify = "right"
    for kind, count in sorted(drill.objects.items()):
        shown.add_row(kind, str(count), _keys(drill, kind))
    shown.add_section()
    shown.add_row("together", str(sum(drill.objects.values())), "")
    return shown


def _keys(drill: Drill, kind: str) -> str:
    parts = drill.encrypted.get(kind, ())
    plain = drill.objects[kind] - sum(part.count for part in parts)
    shown = [f"{part.key}: {part.count}" for part in parts] + ([f"nothing: {plain}"] if parts and plain else [])
    return ", ".join(shown)
