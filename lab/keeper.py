"""The lab's own namespaces, and the process that keeps them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import cgroups
from lab.cgroups import Group
from lab.errors import LabError

# The init process of the lab: it ignores SIGCHLD, so that the kernel reaps all orphans.
_INIT = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"
_START_PATIENCE = 30


@dataclass(frozen=True)
class Keeper:
    """Process 1 of the lab: when it ends, the kernel removes the lab's processes, mounts and networks."""

    pid: int

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return a command line that runs `command` in the lab's namespaces of mounts, networks and processes."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--", *command]

    def in_network(self, command: Sequence[str]) -> list[str]:
        """Return a command line that runs `command` in the lab's network, and otherwise on this computer."""
        return ["nsenter", f"--target={self.pid}", "--net", "--", *command]

    def call(self, *command: str) -> None:
        """Run `command` inside the lab; raises LabError with its output if it fails."""
        done = subprocess.run(self.inside(command), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()} (status {done.returncode})")

    @property
    def agent(self) -> Path:
        """The socket of the lab's SSH agent, in the keeper's own /run: a short path that ends with the keeper."""
        return Path(f"/proc/{self.pid}/root/run/agent")


def find(lab: Group) -> Keeper | None:
    """Return the running keeper in the group of this lab; None if there is none."""
    for process in lab.child("keeper").processes():
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            continue
        ids = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
        # The keeper is process 1 of its own namespace. Before it is Python, a shell still makes its mounts.
        if len(ids) == 2 and ids[1] == "1" and "\nName:\tpython" in "\n" + status:
            return Keeper(process)
    return None


def start(name: str, lab: Group) -> Keeper:
    """Make the namespaces: a network, private mounts, and processes that end with the keeper."""
    private = 'mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && exec "$@"'
    unshare = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
    command = [*unshare, "sh", "-c", private, "sh", sys.executable, "-I", "-c", _INIT]
    group = lab.child("keeper")
    if cgroups.needs_scope():
        (folder,) = group.folders
        join = 'mkdir -p "$1" && echo 0 > "$1/cgroup.procs" && shift && exec "$@"'
        command = cgroups.scope(name, ["sh", "-c", join, "sh", str(folder), *command])
    else:
        lab.create()
        group.create()
        command = group.entering(command)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
    )
    end = time.monotonic() + _START_PATIENCE
    while not (keeper := find(lab)):
        if process.poll() is not None or time.monotonic() > end:
            assert process.stderr
            process.kill()
            raise LabError(
                f"namespaces: cannot be made ({process.stderr.read().decode().strip()}); "
                "they need all rights of root (in a container: --privileged)"
            )
        time.sleep(0.02)
    cgroups.delegate(lab)
    return keeper


def start_agent(keeper: Keeper, lab: Group, key: Path) -> None:
    """Start an SSH agent with `key`, unless it runs."""
    environment = {**os.environ, "SSH_AUTH_SOCK": str(keeper.agent)}
    listing = subprocess.run(["ssh-add", "-l"], env=environment, capture_output=True)
    if listing.returncode == 0:
        return
    if listing.returncode == 2:
        agent = keeper.inside(["ssh-agent", "-a", "/run/agent"])
        subprocess.run(lab.child("keeper").entering(agent), check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=True)


def network_users(keeper: Keeper) -> set[int]:
    """Return the processes in the lab's network, in any namespace of processes."""
    network = os.readlink(f"/proc/{keeper.pid}/ns/net")
    found: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "ns" / "net") == network:
                found.add(int(entry.name))
        except OSError:
            continue
    return found
