"""The root file system that every machine of the lab starts from, made once with mmdebstrap."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

from kubekeel.debian import SUITE, apt_options, sources
from lab.errors import LabError

_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "python3-minimal", "sudo"),
    *("iproute2", "iputils-ping", "nftables", "kmod", "procps", "conntrack", "ethtool", "socat"),
    *("ca-certificates", "curl", "less"),
)
# Machines reach no archive: this folder is one, with what a deploy installs where a stock Debian lacks it.
_ARCHIVE, _ARCHIVED = "usr/local/lib/lab-archive", ("iptables",)

# What a machine does before its services start: see the comments.
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
_SSHD = "HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
_FILES = {
    "etc/apt/sources.list": (f"deb [trusted=yes] file:/{_ARCHIVE} ./\n", 0o644),
    "usr/local/lib/lab-start": (_START, 0o755),
    "etc/systemd/system/lab-start.service": (_UNIT, 0o644),
    "etc/ssh/sshd_config.d/lab.conf": (_SSHD, 0o644),
    "etc/fstab": ("", 0o644),
    "etc/machine-id": ("", 0o444),
}
_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty@.service",
    "console-getty.service",
)


def root_image() -> Path:
    """The folder with the root file system; it is made where the cache does not have it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubekeel" / "lab"
    cache.mkdir(parents=True, exist_ok=True)
    wanted = repr((SUITE, sorted(_PACKAGES), _ARCHIVED, sorted(_FILES.items()), _MASKED))
    image = cache / f"{SUITE}-{platform.machine()}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    with (cache / f"{image.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.is_dir():
            print(f"making the machines' root file system from Debian {SUITE} (once)", flush=True)
            _make(image)
    return image


def _make(image: Path) -> None:
    unfinished = image.with_name(f"{image.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = [
        *("unshare", "--mount", "mmdebstrap", "--quiet"),
        *("--mode=root", "--variant=minbase", "--format=directory"),
        f"--include={','.join(_PACKAGES)}",
        '--dpkgopt=path-exclude=/usr/share/doc/*', '--dpkgopt=path-exclude=/usr/share/man/*',
        *(f"--aptopt={line}" for line in apt_options()),
        f"--customize-hook=mkdir -p $1/{_ARCHIVE}/partial && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq -y"
        f" -o Dir::Cache::archives=$1/{_ARCHIVE} --no-install-recommends --download-only install {' '.join(_ARCHIVED)}"
        f" && rm -r $1/{_ARCHIVE}/partial $1/{_ARCHIVE}/lock",
        "--customize-hook=rm -f $1/etc/apt/apt.conf.d/99mmdebstrap $1/etc/ssh/ssh_host_*",
        "--customize-hook=mkdir -p $1/var/log/journal",
        *(SUITE, str(unfinished), *sources()),
    ]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise LabError(f"mmdebstrap: could not make the root file system; is Debian's archive reachable?\n{last}")
    for name, (text, mode) in _FILES.items():
        file = unfinished / name
        file.write_text(text)
        file.chmod(mode)
    _index(unfinished / _ARCHIVE)
    units = unfinished / "etc/systemd/system"
    wants = units / "sysinit.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "lab-start.service").symlink_to("../lab-start.service")
    for unit in _MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    unfinished.rename(image)


def _index(archive: Path) -> None:
    """Write the list of an archive's packages, as apt reads it."""
    listed = []
    for package in sorted(archive.glob("*.deb")):
        about = subprocess.run(["dpkg-deb", "--field", str(package)], capture_output=True, text=True, check=True).stdout
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        listed.append(f"{about}Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n")
    (archive / "Packages").write_text("\n".join(listed))
