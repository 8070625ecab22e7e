"""Virtual machines: Debian with its own kernel, under QEMU."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lab import network
from lab.image import EMULATOR, cache, root_image
from lab.keeper import Keeper
from lab.machine import Machine
from lab.shape import GATEWAY, PREFIX_LENGTH

_PROCESSORS, _DISK = 2, "16G"
MASTER_MEMORY, MINION_MEMORY = 4096, 3072
"""MiB: three masters, or a master and two minions, fit into 16 GiB."""
# A thread for each processor. The emulator is slow at AVX2, at page tables of five levels, and at protections that the
# kernel switches at each system call. It also runs string instructions byte by byte: a guest that takes them for fast
# (erms, fsrm, fsrs) would clear and copy its memory with them.
_SLOW = ("avx2", "la57", "smap", "smep", "erms", "fsrm", "fsrs")
_EMULATED = ("-accel", "tcg,thread=multi", "-cpu", ",".join(["max", *(f"{feature}=off" for feature in _SLOW)]))
# The kernel's ticks instead of exact timers: each one is expensive in emulation, and Go's runtime sets thousands.
_COARSE_TIMERS = "highres=off"
_ACCELERATED = ("-accel", "kvm", "-cpu", "host")
_KVM, _TRIAL_PATIENCE = Path("/dev/kvm"), 30

_NETWORK = """\
[Match]
Name=eth0

[Network]
Address={address}/{length}
Gateway={gateway}
DNS={gateway}
"""


@dataclass(frozen=True)
class VirtualMachine(Machine):
    """A virtual machine, with its own modules, sysctls and cgroups as on users' hosts; `memory` is in MiB."""

    memory: int

    # Emulation is some ten times slower than KVM.
    boot_patience: ClassVar[int] = 600

    def power_on(self, keeper: Keeper, image: Path) -> None:
        self.power_off(keeper)
        self.group.create()
        disk = self._disk(keeper, image)
        acceleration = accelerator(image)
        timers = [_COARSE_TIMERS] if acceleration == _EMULATED else []
        command = [
            *_qemu(),
            *acceleration,
            *("-smp", str(_PROCESSORS), "-m", str(self.memory)),
            # No flushes are needed: the guest's data outlives the machine, since this computer keeps running.
            *("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"),
            *("-netdev", f"tap,id=lan,ifname={network.lay_cable(keeper, self.node)},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=lan,romfile=,mac={_mac(self.node.address)}"),
            *("-device", "virtio-rng-pci"),
            *_boot(image, "root=/dev/vda", "rw", "net.ifnames=0", *timers),
        ]
        self._start(keeper, command)

    def _disk(self, keeper: Keeper, image: Path) -> Path:
        """Return the machine's file system; the first start makes it."""
        disk = self.folder / "disk.ext4"
        if not disk.exists():
            unfinished = disk.with_suffix(".new")
            unfinished.unlink(missing_ok=True)
            self._mount(keeper, image)
            keeper.call("mkfs.ext4", "-q", "-d", str(self.folder / "root"), str(unfinished), _DISK)
            self._unmount(keeper)
            unfinished.rename(disk)
        return disk

    def _network_files(self) -> dict[str, str]:
        text = _NETWORK.format(address=self.node.address, length=PREFIX_LENGTH, gateway=GATEWAY)
        return {"etc/systemd/network/lan.network": text}


def accelerator(image: Path) -> tuple[str, ...]:
    """Return QEMU's options for KVM if a guest boots with it, else for emulation; tries once for each image.

    /dev/kvm alone does not show that KVM works.
    """
    verdict = cache() / f"{image.name}.accelerator"
    if not verdict.exists():
        verdict.write_text("kvm" if _boots_with_kvm(image) else "tcg")
    return _ACCELERATED if verdict.read_text() == "kvm" else _EMULATED


def _boots_with_kvm(image: Path) -> bool:
    """Whether a guest's kernel boots with KVM, until it ends for lack of a first program."""
    if not _KVM.exists():
        return False
    command = [*_qemu(), *_ACCELERATED, "-m", "512", "-no-reboot", *_boot(image, "rdinit=/none", "panic=-1")]
    try:
        trial = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRIAL_PATIENCE)
    except subprocess.TimeoutExpired:
        return False
    return b"Kernel panic" in trial.stdout


def _qemu() -> list[str]:
    """Return the command of Debian's QEMU with its own libraries and firmware, independent of this computer's."""
    root = root_image(EMULATOR)
    libraries = ":".join(str(root / folder) for folder in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"))
    linker = [str(root / "lib64/ld-linux-x86-64.so.2"), "--library-path", libraries]
    firmware = [word for folder in ("qemu", "seabios") for word in ("-L", str(root / "usr/share" / folder))]
    options = ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]
    return [*linker, str(root / "usr/bin/qemu-system-x86_64"), *firmware, *options]


def _boot(image: Path, *arguments: str) -> list[str]:
    (kernel,), (initrd,) = (list(image.glob(f"boot/{name}-*")) for name in ("vmlinuz", "initrd.img"))
    return ["-kernel", str(kernel), "-initrd", str(initrd), "-append", " ".join(("console=ttyS0", *arguments))]


def _mac(address: str) -> str:
    """Return a locally administered MAC address; machines of one lab differ in the last part of their IP address."""
    return f"52:54:00:00:00:{int(address.rpartition('.')[2]):02x}"
