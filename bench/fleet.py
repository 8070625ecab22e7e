"""Light machines: each has an sshd, its own network, file system and processes, but no services.

A deploy reads and writes real files, users, kernel settings, ports and addresses over SSH. Only systemd and the clients
of the missing services are replaced (see `standins`).
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bench import run, supplied
from bench.record import Record
from bench.supplied import Load
from lab import cgroups, keeper, network
from lab.cgroups import Group
from lab.errors import LabError
from lab.image import root_image
from lab.keeper import Keeper
from lab.machine import make_key
from lab.shape import GATEWAY, PROJECT, Node, keep_keys_in
from operations.store import PIN

STANDINS = Path(__file__).parent / "standins"
_ARCHITECTURE = "arm64" if platform.machine() == "aarch64" else "amd64"
_MEMBERS = 3
# More than a /24, and a subnet of it for each.
_PREFIX_LENGTH = 22
_PODS = "10.128.0.0/14"
_SUBNET = f"FLANNEL_NETWORK={_PODS}\nFLANNEL_SUBNET=10.128.1.1/24\nFLANNEL_MTU=1450\n"
_INVENTORY = """\
_hosts = [
    (f"node{{number}}", {{"address": address, "ssh_hostname": address, "ssh_user": "root", "arch": "{arch}"}})
    for number, address in enumerate({addresses}, start=1)
]
etcd, masters, minions = _hosts[:{members}], _hosts[:1], _hosts[1:]
"""
# Ends when an sshd listens at each address.
_REACH = """
import socket, sys, time
end = time.monotonic() + 60
for address in sys.argv[1:]:
    while True:
        try:
            socket.create_connection((address, 22), 1).close()
            break
        except OSError:
            if time.monotonic() > end:
                sys.exit(f"{address}: no sshd listens")
            time.sleep(0.05)
"""

# Runs in the machine's network namespace: makes mounts, sets the name, then starts sshd.
_BOOT = """
set -e
folder=$1 name=$2
root=$folder/root
mount -t overlay -o "lowerdir=$3,upperdir=$folder/disk,workdir=$folder/work" overlay "$root"
mount -t proc proc "$root/proc"
# The kernel's settings are the whole computer's, but for those of the network.
mount -o bind,ro "$root/proc/sys" "$root/proc/sys"
mount -o bind "$root/proc/sys/net" "$root/proc/sys/net"
mount -o remount,bind,rw "$root/proc/sys/net"
mount -t sysfs -o ro sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -p "$root/run/sshd" "$root/run/systemd/system"
hostname "$name"
exec chroot "$root" /usr/sbin/sshd -D -e
"""


@dataclass(frozen=True)
class Fleet:
    """Light machines in `folder`; the first is the master, the first three are etcd's members."""

    folder: Path

    @property
    def name(self) -> str:
        return f"kubekeel-bench-{hashlib.sha256(bytes(self.folder)).hexdigest()[:8]}"

    @property
    def group(self) -> Group:
        return cgroups.of_lab(self.name)

    @property
    def keeper(self) -> Keeper:
        if found := keeper.find(self.group):
            return found
        raise LabError(f"the fleet in {self.folder} is not up")

    @property
    def environment(self) -> dict[str, str]:
        """The environment that pyinfra needs to reach the fleet."""
        return {
            **os.environ,
            "PATH": os.pathsep.join([str(PROJECT / ".venv/bin"), os.environ["PATH"]]),
            "KUBEKEEL_STATE_DIR": str(self.folder / "pki"),
            "SSH_AUTH_SOCK": str(self.keeper.agent),
        }

    def up(self) -> None:
        """Make the network, and the common part of every machine's disk."""
        self.down()
        (self.folder / "pki").mkdir(parents=True, mode=0o700)
        kept = keeper.start(self.name, self.group)
        key = self.folder / "id_ed25519"
        make_key(key, "kubekeel-bench")
        keeper.start_agent(kept, self.group, key)
        network.lay(kept, _PREFIX_LENGTH)
        self._make_common()
        self._make_stores()

    def down(self) -> None:
        """Remove the whole fleet."""
        self.group.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def deploy(self, size: int, *options: str, file: str = "deploy.py", under: Sequence[str] = ()) -> Record:
        """Run the deploy, or another `file`, for a cluster of the first `size` machines."""
        inventory = str(self.inventory(size))
        return run.pyinfra(self.keeper, self.environment, self.folder, inventory, file, *options, under=under)

    def bare(self, size: int) -> float:
        """Return the seconds that pyinfra without Kubekeel needs to run `true` on the first `size` machines."""
        return run.bare(self.keeper, self.environment, self.inventory(size))

    def power_on(self, nodes: Sequence[Node]) -> None:
        """Switch machines on, new ones with an empty disk, and wait for their sshd."""
        kept = self.keeper
        for node in nodes:
            self._boot(kept, node)
        run.output(kept.in_network([sys.executable, "-c", _REACH, *(node.address for node in nodes)]))

    def power_off(self, node: Node) -> None:
        """Cut a machine's power."""
        network.unplug(self.keeper, node)
        self.group.child(node.name).remove()

    def wipe(self, node: Node) -> None:
        """Cut a machine's power, and delete its disk."""
        self.power_off(node)
        shutil.rmtree(self.folder / node.name)

    def change(self, nodes: Sequence[Node], file: str) -> None:
        """Append a line to a file of each of these machines, without a deploy."""
        for node in nodes:
            # A mounted overlay ignores files that are added or removed below it, but shows appended lines.
            with (self.folder / node.name / "disk" / file).open("a") as changed:
                changed.write("# changed\n")

    def _boot(self, kept: Keeper, node: Node) -> None:
        folder, group = self.folder / node.name, self.group.child(node.name)
        _make_disk(folder, node)
        group.create()
        layers = f"{self._store(node)}:{self.folder / 'common'}:{root_image()}"
        command = [
            *("nsenter", f"--net={network.plug_in(kept, node, _PREFIX_LENGTH)}"),
            *("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"),
            *("sh", "-c", _BOOT, "sh", str(folder), node.name, layers),
        ]
        with (folder / "console.log").open("ab") as console:
            subprocess.run(
                group.entering(kept.inside(["setsid", "--fork", *command])),
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, check=True,
            )  # fmt: skip

    def inventory(self, size: int) -> Path:
        """Write the inventory of a cluster of the first `size` machines."""
        folder = self.folder / f"of-{size}"
        folder.mkdir(exist_ok=True)
        file = folder / "inventory.py"
        addresses = [node.address for node in nodes(size)]
        file.write_text(_INVENTORY.format(arch=_ARCHITECTURE, addresses=addresses, members=_MEMBERS))
        keep_keys_in(self.folder / "pki", folder, pod_network=_PODS)
        return file

    def _store(self, node: Node) -> Path:
        """Return the folder with a machine's binaries and images; from the fourth machine on, all have the same."""
        alike = nodes(_MEMBERS + 1)
        return self.folder / "stores" / (node if node in alike else alike[-1]).name

    def _make_stores(self) -> None:
        inventory = self.inventory(_MEMBERS + 1)
        loads = supplied.read(run.output(["python", "-m", "bench.supplied", str(inventory)], self.environment))
        for node in nodes(_MEMBERS + 1):
            _fill_store(self._store(node) / "opt/kubekeel/store", loads[node.name])

    def _make_common(self) -> None:
        common = self.folder / "common"
        for folder, mode in (("usr/bin", 0o755), ("etc/ssh", 0o755), ("root/.ssh", 0o700)):
            (common / folder).mkdir(parents=True)
            (common / folder).chmod(mode)
        (common / "etc/subnet.env").write_text(_SUBNET)
        shutil.copy(STANDINS / "systemctl", common / "usr/bin/systemctl")
        shutil.copy(self.folder / "id_ed25519.pub", common / "root/.ssh/authorized_keys")
        make_key(common / "etc/ssh/ssh_host_ed25519_key", self.name)


def nodes(size: int) -> list[Node]:
    """Return the first `size` machines."""
    return [Node(f"node{number}", str(IPv4Address(GATEWAY) + number)) for number in range(1, size + 1)]


def _fill_store(store: Path, load: Load) -> None:
    """Put placeholders for the binaries into a store, and the list of imported images."""
    for binary in load.binaries:
        place = store / binary.sha256 / binary.name
        place.parent.mkdir(parents=True)
        shutil.copy(STANDINS / binary.name if (STANDINS / binary.name).exists() else "/bin/true", place)
    images = sorted(f"{image.reference} - {image.digest} {PIN}" for image in load.images)
    (store / "images").write_text("\n".join(["REF TYPE DIGEST LABELS", *images, ""]))


def _make_disk(folder: Path, node: Node) -> None:
    """Make a disk with only the machine's name and ID, unless it exists."""
    if (folder / "disk").exists():
        return
    for name in ("disk/etc", "work", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "disk/etc/hostname").write_text(f"{node.name}\n")
    (folder / "disk/etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
