"""Machines: Debian with systemd and sshd, each in namespaces and cgroups of its own (systemd-nspawn)."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from lab import network
from lab.cgroups import Group
from lab.errors import LabError
from lab.keeper import Keeper
from lab.shape import GATEWAY, Node

_BOOT_PATIENCE = 120
# By this status systemd-nspawn asks to be started again, for a container that reboots.
_BOOTS = 'while :; do "$@"; [ $? = 133 ] || exit; done'
_HOST_KEY = "etc/ssh/ssh_host_ed25519_key"


@dataclass(frozen=True)
class Machine:
    """A machine: its disk is `folder` (what differs from the root image), its processes are in `group`."""

    node: Node
    folder: Path
    group: Group

    @property
    def is_on(self) -> bool:
        return bool(self.group.processes())

    @property
    def host_key(self) -> str:
        """The public key by which its sshd is known."""
        return " ".join((self.folder / "disk" / f"{_HOST_KEY}.pub").read_text().split()[:2])

    def make_disk(self, authorized_key: str) -> None:
        """A new disk with keys and an identity of its own, unless the machine has one."""
        if (self.folder / "disk").is_dir():
            return
        unfinished = self.folder / "disk.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        for name in ("containerd", "work", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        texts = {
            "etc/hostname": f"{self.node.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {self.node.name}\n::1 localhost\n",
            "etc/resolv.conf": f"nameserver {GATEWAY}\n",
            "etc/machine-id": f"{uuid.uuid4().hex}\n",
            "root/.ssh/authorized_keys": authorized_key,
        }
        for name, text in texts.items():
            file = unfinished / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (unfinished / "root").chmod(0o700)
        (unfinished / "root/.ssh").chmod(0o700)
        (unfinished / "etc/ssh").mkdir()
        make_key(unfinished / _HOST_KEY, self.node.name)
        unfinished.rename(self.folder / "disk")

    def power_on(self, keeper: Keeper, image: Path) -> None:
        """Start it; `wait` until it can be used."""
        self.power_off(keeper)
        self.group.create()
        keeper.call("mount", "-t", "overlay", "-o", self._overlay(image), "overlay", str(self.folder / "root"))
        boot = [
            *("sh", "-c", _BOOTS, "sh"),
            *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--link-journal=no"),
            *("--resolv-conf=off", "--timezone=off", "--console=pipe", "--settings=no"),
            *("--capability=all", "--system-call-filter=@known", "--bind=/dev/kmsg"),
            f"--machine={self.node.name}",
            f"--directory={self.folder / 'root'}",
            # An overlay cannot hold the overlays of containerd's snapshots.
            f"--bind={self.folder / 'containerd'}:/var/lib/containerd",
            f"--network-namespace-path={network.plug_in(keeper, self.node)}",
        ]
        with (self.folder / "console.log").open("ab") as console:
            subprocess.run(
                self.group.entering(keeper.inside(["setsid", "--fork", *boot])),
                env={**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"},
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, check=True,
            )  # fmt: skip

    def power_off(self, keeper: Keeper) -> None:
        """Pull the plug: nothing in it gets a chance to say goodbye."""
        network.unplug(keeper, self.node)
        self.group.remove()
        mounted = subprocess.run(keeper.inside(["mountpoint", "-q", str(self.folder / "root")])).returncode == 0
        if mounted:
            keeper.call("umount", str(self.folder / "root"))

    def wait(self, ssh: list[str]) -> None:
        """Until it has started all it starts by itself; LabError with its last words where it does not."""
        end = time.monotonic() + _BOOT_PATIENCE
        command = [*ssh, "-o", "ConnectTimeout=2", self.node.address, "systemctl is-system-running --wait"]
        while time.monotonic() < end:
            state = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if state.stdout.strip() in ("running", "degraded"):
                return
            if not self.is_on:
                break
            time.sleep(0.1)
        console = self.folder / "console.log"
        last = "\n".join(console.read_text(errors="replace").splitlines()[-10:])
        raise LabError(f"{self.node.name}: did not start ({state.stdout}{state.stderr.strip()}); see {console}\n{last}")

    def _overlay(self, image: Path) -> str:
        layers = {"lowerdir": image, "upperdir": self.folder / "disk", "workdir": self.folder / "work"}
        return ",".join(f"{name}={path}" for name, path in layers.items())


def make_key(file: Path, comment: str) -> None:
    """An Ed25519 key without a passphrase, and its public half beside it; one that is there stays."""
    if not file.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(file)], check=True)
