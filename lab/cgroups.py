"""The lab's own cgroups: one per machine in every hierarchy, so that no machine sees another's."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

_NEEDED = ("cpu", "cpuset", "memory", "pids")
_KILL_PATIENCE = 30


@dataclass(frozen=True)
class Group:
    """A cgroup: its folder in every hierarchy of this computer (one with cgroup v2, about ten with v1)."""

    folders: tuple[Path, ...]

    def child(self, name: str) -> Group:
        return Group(tuple(folder / name for folder in self.folders))

    def create(self) -> None:
        """Make the missing folders."""
        for folder in self.folders:
            folder.mkdir(exist_ok=True)
            # A new cpuset of cgroup v1 has no processor, and accepts no process.
            for file in (folder / "cpuset.cpus", folder / "cpuset.mems"):
                if _is_v1(folder) and file.exists() and not file.read_text().strip():
                    file.write_text((folder.parent / file.name).read_text())

    def entering(self, command: Sequence[str]) -> list[str]:
        """Return a command line that runs `command` in this group."""
        script = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit; shift; done; shift; exec "$@"'
        return ["sh", "-c", script, "sh", *map(str, self.folders), "--", *command]

    def slow_down(self, processors: float) -> None:
        """Limit the processes of the group to the time of that many processors."""
        period = 100_000
        quota = round(processors * period)
        for folder in self.folders:
            for file, text in ((folder / "cpu.max", f"{quota} {period}"), (folder / "cpu.cfs_quota_us", f"{quota}")):
                if file.exists():
                    file.write_text(text)

    def processes(self) -> set[int]:
        """Return the ids of all processes in the group and below."""
        found: set[int] = set()
        for folder in self.folders:
            # Groups come and go meanwhile: os.walk skips those that are gone.
            for path, _, _ in os.walk(folder):
                with contextlib.suppress(OSError):
                    found.update(map(int, Path(path, "cgroup.procs").read_text().split()))
        return found - {0}

    def remove(self) -> None:
        """Kill all processes of the group at once, and remove it."""
        end = time.monotonic() + _KILL_PATIENCE
        while left := self.processes():
            if time.monotonic() > end:
                raise LabError(f"processes {sorted(left)}: do not end; see `ps -p PID -o pid,stat,wchan,args`")
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.05)
        for folder in self.folders:
            for path, _, _ in os.walk(folder, topdown=False):
                _remove_folder(Path(path), end)


def of_lab(name: str) -> Group:
    """Return the group of the lab called `name`, whether it exists or not."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    hierarchies = [Path(where) for where, kind in mounts if kind in ("cgroup", "cgroup2")]
    if not hierarchies:
        raise LabError("cgroups: none are mounted here; mount them, or use a computer with systemd")
    if needs_scope():
        return Group((Path("/sys/fs/cgroup/system.slice") / f"{name}.scope",))
    return Group(tuple(hierarchy / name for hierarchy in hierarchies))


def needs_scope() -> bool:
    """Whether systemd owns the tree of cgroup v2 here, so that the lab needs a scope of systemd."""
    return Path("/run/systemd/system").is_dir() and Path("/sys/fs/cgroup/cgroup.controllers").exists()


def scope(name: str, command: Sequence[str]) -> list[str]:
    """Return a command line that runs `command` as the first process of the lab's scope, delegated by systemd."""
    options = ("--scope", "--quiet", "--collect", f"--unit={name}", "--property=Delegate=yes")
    return ["systemd-run", *options, "--", *command]


def delegate(lab: Group) -> None:
    """With cgroup v2, give the groups below `lab` the controllers that a node needs."""
    for folder in lab.folders:
        available = folder / "cgroup.controllers"
        if len(lab.folders) > 1 or not available.exists():
            continue
        controllers = available.read_text().split()
        if missing := sorted(set(_NEEDED) - set(controllers)):
            raise LabError(f"cgroup controllers {', '.join(missing)}: are not available in {folder}; enable them")
        (folder / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in controllers))


def _is_v1(folder: Path) -> bool:
    return not (folder / "cgroup.controllers").exists()


def _remove_folder(folder: Path, end: float) -> None:
    while True:
        try:
            return folder.rmdir()
        except FileNotFoundError:
            return None
        except OSError as fault:
            # The kernel takes a moment to release a group after its last process has died.
            if time.monotonic() > end:
                raise LabError(f"{folder}: cannot be removed ({fault.strerror}); `rmdir` it later") from fault
            time.sleep(0.05)
