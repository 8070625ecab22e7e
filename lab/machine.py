"""Machines: Debian with systemd and sshd, in containers (systemd-nspawn) or with their own kernel (QEMU)."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lab import network
from lab.cgroups import Group
from lab.errors import LabError
from lab.keeper import Keeper
from lab.shape import GATEWAY, Node

# systemd-nspawn exits with this status when its container reboots, and must be started again.
_BOOTS = 'while :; do "$@"; [ $? = 133 ] || exit; done'
_HOST_KEY = "etc/ssh/ssh_host_ed25519_key"


@dataclass(frozen=True)
class Machine:
    """A machine: `folder` has its disk (the differences from the root image), `group` its processes."""

    node: Node
    folder: Path
    group: Group

    boot_patience: ClassVar[int] = 120
    """Seconds."""

    @property
    def is_on(self) -> bool:
        return bool(self.group.processes())

    @property
    def host_key(self) -> str:
        """The public key of its sshd."""
        return " ".join((self.folder / "disk" / f"{_HOST_KEY}.pub").read_text().split()[:2])

    def make_disk(self, authorized_key: str) -> None:
        """Make a disk with its own keys and identity, unless the machine has one."""
        if (self.folder / "disk").is_dir():
            return
        unfinished = self.folder / "disk.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        for name in ("containerd", "work", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        texts = {
            "etc/hostname": f"{self.node.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {self.node.name}\n::1 localhost\n",
            "etc/machine-id": f"{uuid.uuid4().hex}\n",
            "root/.ssh/authorized_keys": authorized_key,
        }
        for name, text in {**texts, **self._network_files()}.items():
            file = unfinished / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (unfinished / "root").chmod(0o700)
        (unfinished / "root/.ssh").chmod(0o700)
        (unfinished / "etc/ssh").mkdir()
        make_key(unfinished / _HOST_KEY, self.node.name)
        unfinished.rename(self.folder / "disk")

    def wait(self, ssh: list[str]) -> None:
        """Wait until the machine has booted; raises LabError with the end of its console's log if it does not."""
        end = time.monotonic() + self.boot_patience
        # An emulated sshd takes seconds to greet while its machine boots.
        command = [*ssh, "-o", "ConnectTimeout=10", self.node.address, "systemctl is-system-running --wait"]
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

    def power_on(self, keeper: Keeper, image: Path) -> None:
        """Start the machine; `wait` waits until it has booted."""
        raise NotImplementedError

    def power_off(self, keeper: Keeper) -> None:
        """Cut the machine's power: its programs get no signal before they end."""
        network.unplug(keeper, self.node)
        self.group.remove()
        self._unmount(keeper)

    def _network_files(self) -> dict[str, str]:
        """Return the files of its network configuration, by path."""
        raise NotImplementedError

    def _mount(self, keeper: Keeper, image: Path) -> None:
        """Mount the image and the machine's disk over it as one tree in `root`."""
        layers = {"lowerdir": image, "upperdir": self.folder / "disk", "workdir": self.folder / "work"}
        options = ",".join(f"{name}={path}" for name, path in layers.items())
        keeper.call("mount", "-t", "overlay", "-o", options, "overlay", str(self.folder / "root"))

    def _unmount(self, keeper: Keeper) -> None:
        if subprocess.run(keeper.inside(["mountpoint", "-q", str(self.folder / "root")])).returncode == 0:
            keeper.call("umount", str(self.folder / "root"))

    def _start(self, keeper: Keeper, command: list[str], **environment: str) -> None:
        with (self.folder / "console.log").open("ab") as console:
            subprocess.run(
                self.group.entering(keeper.inside(["setsid", "--fork", *command])),
                env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=console, stderr=console, check=True,
            )  # fmt: skip


class Container(Machine):
    """A system container: it boots in seconds, and shares this computer's kernel."""

    def power_on(self, keeper: Keeper, image: Path) -> None:
        self.power_off(keeper)
        self.group.create()
        self._mount(keeper, image)
        boot = [
            *("sh", "-c", _BOOTS, "sh"),
            *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--link-journal=no"),
            *("--resolv-conf=off", "--timezone=off", "--console=pipe", "--settings=no"),
            *("--capability=all", "--system-call-filter=@known", "--bind=/dev/kmsg"),
            f"--machine={self.node.name}",
            f"--directory={self.folder / 'root'}",
            # containerd's snapshots are overlays, which need a folder outside of any overlay.
            f"--bind={self.folder / 'containerd'}:/var/lib/containerd",
            f"--network-namespace-path={network.plug_in(keeper, self.node)}",
        ]
        self._start(keeper, boot, SYSTEMD_NSPAWN_API_VFS_WRITABLE="network")

    def _network_files(self) -> dict[str, str]:
        return {"etc/resolv.conf": f"nameserver {GATEWAY}\n"}


def make_key(file: Path, comment: str) -> None:
    """Make an Ed25519 key without a passphrase, and its public key beside it, unless the file exists."""
    if not file.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(file)], check=True)
