"""The root file systems of the lab's machines, each made once with mmdebstrap."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from kubekeel.debian import SUITE, apt_options, sources
from lab.errors import LabError

_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "python3-minimal",
    "sudo",
    "iproute2",
    "kmod",
    "procps",
)
# Machines reach no Debian archive. This folder is one, with the packages that a deploy installs on a stock Debian.
ARCHIVE = "usr/local/lib/lab-archive"

# A container runs this before its services start.
_START = """\
#!/bin/sh
set -e
# Volumes of pods reach their containers through shared mounts.
mount --make-rshared /
# cgroup v1 comes read-only.
awk '$3 == "cgroup" { print $2 }' /proc/self/mounts | while read -r each; do
  mount -o remount,bind,rw "$each"
done
# These belong to the whole computer: a machine gets copies to change.
mkdir -p /run/sysctl
for each in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \\
    kernel/keys/root_maxbytes fs/inotify/max_user_instances; do
  copy=/run/sysctl/$(echo "$each" | tr / .)
  cp "/proc/sys/$each" "$copy"
  mount --bind "$copy" "/proc/sys/$each"
done
"""
_UNIT = """\
[Unit]
Description=What a machine of the lab needs before its services start
DefaultDependencies=no
Before=systemd-sysctl.service sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/lib/lab-start

[Install]
WantedBy=sysinit.target
"""
_SERVICES = "multi-user.target.wants"
_SSHD = "HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
_FILES = {
    "etc/apt/sources.list": (f"deb [trusted=yes] file:/{ARCHIVE} ./\n", 0o644),
    "etc/ssh/sshd_config.d/lab.conf": (_SSHD, 0o644),
    "etc/machine-id": ("", 0o444),
}
_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty@.service",
)


@dataclass(frozen=True)
class Image:
    """A root file system: packages in it and packages beside it, files by path with their modes, units of systemd."""

    suite: str
    packages: tuple[str, ...]
    archived: tuple[str, ...]
    masked: tuple[str, ...]
    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    enabled: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The image's name, which changes with its contents."""
        wanted = repr((sorted(self.packages), self.archived, sorted(self.files.items()), self.masked, self.enabled))
        return f"{self.suite}-{platform.machine()}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"


CONTAINER = Image(
    SUITE,
    packages=(
        *_PACKAGES,
        "iputils-ping",
        "nftables",
        "conntrack",
        "ethtool",
        "socat",
        "ca-certificates",
        "curl",
        "less",
        "zstd",
    ),
    archived=("iptables", "keepalived"),
    masked=(*_MASKED, "console-getty.service"),
    files={
        **_FILES,
        "etc/fstab": ("", 0o644),
        "usr/local/lib/lab-start": (_START, 0o755),
        "etc/systemd/system/lab-start.service": (_UNIT, 0o644),
    },
    enabled=("sysinit.target.wants/lab-start.service",),
)


# Its QEMU emulates AES, SHA-256 and new processes at twice the pace of bookworm's.
EMULATOR = Image("trixie", packages=("qemu-system-x86",), archived=(), masked=())


def virtual(suite: str) -> Image:
    """Return an image with the packages of a cloud image only: a kernel, but neither iptables nor nftables."""
    return Image(
        suite,
        packages=(
            *_PACKAGES,
            "linux-image-cloud-amd64",
            "initramfs-tools",
            "systemd-resolved",
            "apparmor",
            "ca-certificates",
            "curl",
        ),
        archived=("iptables", "nftables", "conntrack", "ethtool", "socat", "keepalived"),
        masked=(*_MASKED, "serial-getty@.service"),
        files={**_FILES, "etc/fstab": ("/dev/vda / ext4 defaults 0 1\n", 0o644)},
        enabled=(
            "multi-user.target.wants/systemd-networkd.service",
            "multi-user.target.wants/systemd-resolved.service",
        ),
    )


def cache() -> Path:
    """Return the folder of this computer's images."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubekeel" / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def root_image(image: Image = CONTAINER) -> Path:
    """Return the folder with the root file system; make it if the cache lacks it."""
    folder = cache() / image.name
    with (cache() / f"{image.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            print(f"making the machines' root file system from Debian {image.suite} (once)", flush=True)
            _make(image, folder)
    return folder


def _make(image: Image, folder: Path) -> None:
    unfinished = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    download = f"apt-get -qq -y -o Dir::Cache::archives=$1/{ARCHIVE} --no-install-recommends --download-only install"
    command = [
        *("unshare", "--mount", "mmdebstrap", "--quiet"),
        *("--mode=root", "--variant=minbase", "--format=directory"),
        f"--include={','.join(image.packages)}",
        '--dpkgopt=path-exclude=/usr/share/doc/*', '--dpkgopt=path-exclude=/usr/share/man/*',
        *(f"--aptopt={line}" for line in apt_options()),
        f"--customize-hook=mkdir -p $1/{ARCHIVE}/partial && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG {download}"
        f" {' '.join(image.archived)} && rm -r $1/{ARCHIVE}/partial $1/{ARCHIVE}/lock",
        "--customize-hook=rm -f $1/etc/apt/apt.conf.d/99mmdebstrap $1/etc/ssh/ssh_host_*",
        "--customize-hook=mkdir -p $1/var/log/journal",
        *(image.suite, str(unfinished), *sources(image.suite)),
    ]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise LabError(f"mmdebstrap: could not make the root file system; is Debian's archive reachable?\n{last}")
    for name, (text, mode) in image.files.items():
        file = unfinished / name
        file.write_text(text)
        file.chmod(mode)
    _index(unfinished / ARCHIVE)
    units = unfinished / "etc/systemd/system"
    for wanted in image.enabled:
        link = units / wanted
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(f"../{link.name}" if (units / link.name).exists() else f"/lib/systemd/system/{link.name}")
    for unit in image.masked:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    unfinished.rename(folder)


def _index(archive: Path) -> None:
    """Write the list of an archive's packages in apt's format."""
    listed = []
    for package in sorted(archive.glob("*.deb")):
        about = subprocess.run(["dpkg-deb", "--field", str(package)], capture_output=True, text=True, check=True).stdout
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        listed.append(f"{about}Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n")
    (archive / "Packages").write_text("\n".join(listed))
