"""A lab: machines, their network and keys, all in one folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import cgroups, keeper, network
from lab.cgroups import Group
from lab.errors import LabError
from lab.image import CONTAINER, root_image, virtual
from lab.keeper import Keeper
from lab.machine import Container, Machine, make_key
from lab.shape import PROJECT, Node, Shape, write_inventory
from lab.virtual import MASTER_MEMORY, MINION_MEMORY, VirtualMachine

_WATCHERS = Path("/proc/sys/fs/inotify/max_user_instances")
_WATCHERS_NEEDED = 1024


@dataclass(frozen=True)
class Lab:
    """The lab in `directory`, whether it is up or not."""

    directory: Path

    @classmethod
    def here(cls) -> Lab:
        """Return the lab in $KUBEKEEL_LAB_DIR, or else in the project's .lab folder."""
        return cls(Path(os.environ.get("KUBEKEEL_LAB_DIR") or PROJECT / ".lab").resolve())

    @property
    def name(self) -> str:
        """The lab's name among this computer's cgroups."""
        return f"kubekeel-lab-{hashlib.sha256(bytes(self.directory)).hexdigest()[:8]}"

    @property
    def group(self) -> Group:
        return cgroups.of_lab(self.name)

    @property
    def state_directory(self) -> Path:
        """The folder of the cluster's keys: KUBEKEEL_STATE_DIR."""
        return self.directory / "pki"

    @property
    def inventory(self) -> Path:
        """The inventory of the lab's machines, separate from the project's own."""
        return self.directory / "inventory.py"

    @property
    def shape(self) -> Shape:
        """The numbers and kind of the lab's machines; raises LabError if there are none."""
        if shape := Shape.load(self.directory / "shape.json"):
            return shape
        raise LabError(f"there is no lab in {self.directory}; make one with `python3 -m lab up`")

    @property
    def keeper(self) -> Keeper:
        """The lab's keeper; raises LabError if the lab is not up."""
        self.shape  # noqa: B018 - "there is none" is said before "it is not up"
        if found := keeper.find(self.group):
            return found
        raise LabError(f"the lab in {self.directory} is not running; `python3 -m lab up` starts it again")

    @property
    def machines(self) -> tuple[Machine, ...]:
        return tuple(map(self._machine, self.shape.nodes))

    def machine(self, name: str) -> Machine:
        return self._machine(self.shape.node(name))

    def _machine(self, node: Node) -> Machine:
        folder, group = self.directory / node.name, self.group.child(node.name)
        if not self.shape.suite:
            return Container(node, folder, group)
        memory = MASTER_MEMORY if node in self.shape.master_nodes else MINION_MEMORY
        return VirtualMachine(node, folder, group, memory)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a command that works on the lab's cluster; it must also run in the lab's network."""
        path = os.pathsep.join([str(PROJECT / ".venv/bin"), str(self.directory / "bin"), os.environ["PATH"]])
        return {
            **os.environ,
            "PATH": path,
            "KUBEKEEL_LAB_DIR": str(self.directory),
            "KUBEKEEL_STATE_DIR": str(self.state_directory),
            "KUBECONFIG": str(self.state_directory / "admin.conf"),
            "SSH_AUTH_SOCK": str(self.keeper.agent),
        }

    @property
    def ssh(self) -> list[str]:
        """The start of a command line for ssh; the machine's address follows."""
        options = {
            "IdentityFile": self.directory / "id_ed25519",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.state_directory / "known_hosts",
            "StrictHostKeyChecking": "yes",
            "LogLevel": "ERROR",
            "User": "root",
        }
        flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return self.keeper.in_network(["ssh", "-F", "none", *flags])

    def up(self, masters: int | None, minions: int | None, suite: str | None = None) -> None:
        """Bring up the lab; None keeps the number of machines. A lab may get more machines, not fewer.

        With a `suite` new machines are virtual; all machines of a lab are of one kind.
        """
        before = Shape.load(self.directory / "shape.json")
        known = before or Shape(suite=suite)
        after = Shape(
            known.masters if masters is None else masters,
            known.minions if minions is None else minions,
            suite or known.suite,
        )
        if after.suite != known.suite:
            raise LabError(f"the lab has {_kind(known)} already; `python3 -m lab down` first to have {_kind(after)}")
        if before and (after.masters < before.masters or after.minions < before.minions):
            raise LabError(
                f"the lab has {before.masters} masters and {before.minions} minions already; "
                "`python3 -m lab down` first to make it smaller"
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._alone():
            after.save(self.directory / "shape.json")
            write_inventory(after, self.directory)
            image = self._image()
            kept = keeper.find(self.group)
            if not kept:
                self.group.remove()
                kept = keeper.start(self.name, self.group)
            key = self.directory / "id_ed25519"
            make_key(key, "kubekeel-lab")
            keeper.start_agent(kept, self.group, key)
            network.lay(kept)
            _let_machines_watch_files()
            for machine in self.machines:
                machine.make_disk(key.with_suffix(".pub").read_text())
            self._write_known_hosts()
            for machine in self.machines:
                if not machine.is_on:
                    machine.power_on(kept, image)
            for machine in self.machines:
                machine.wait(self.ssh)

    def start(self, names: Sequence[str]) -> None:
        """Switch machines on if they are off, and wait for them."""
        machines = [self.machine(name) for name in names]
        with self._alone():
            for machine in machines:
                if not machine.is_on:
                    machine.power_on(self.keeper, self._image())
        for machine in machines:
            machine.wait(self.ssh)

    def stop(self, names: Sequence[str]) -> None:
        """Pull machines' plugs."""
        machines = [self.machine(name) for name in names]
        with self._alone():
            for machine in machines:
                machine.power_off(self.keeper)

    def down(self) -> bool:
        """Remove the lab, but not the root image; return whether there was a lab."""
        if not self.directory.exists() and not any(folder.exists() for folder in self.group.folders):
            return False
        self.directory.mkdir(exist_ok=True)
        with self._alone():
            if kept := keeper.find(self.group):
                _end(keeper.network_users(kept) - self.group.processes())
            self.group.remove()
            try:
                shutil.rmtree(self.directory)
            except OSError as fault:
                remedy = "end the programs that write to it, then try again"
                raise LabError(f"{self.directory}: cannot be removed ({fault.strerror}); {remedy}") from fault
        return True

    def _image(self) -> Path:
        """Return the root image that this lab's disks are based on, even if there is a newer one."""
        link = self.directory / "image"
        if not link.exists():
            link.unlink(missing_ok=True)
            suite = self.shape.suite
            link.symlink_to(root_image(virtual(suite) if suite else CONTAINER))
        return link.resolve()

    def _write_known_hosts(self) -> None:
        self.state_directory.mkdir(mode=0o700, exist_ok=True)
        lines = [f"{machine.node.address} {machine.host_key}\n" for machine in self.machines]
        file = self.state_directory / "known_hosts"
        written = os.open(file.with_suffix(".new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(written, "w") as out:
            out.writelines(lines)
        file.with_suffix(".new").replace(file)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock the lab: one command at a time changes it, and others wait."""
        with (self.directory / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"waiting for another command that changes the lab in {self.directory}", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.directory.exists():
                raise LabError(f"the lab in {self.directory} was removed by another command meanwhile")
            yield


def _kind(shape: Shape) -> str:
    return f"virtual machines with {shape.suite}" if shape.suite else "containers"


def _end(processes: set[int]) -> None:
    """Kill the user's processes in the lab's network, but not this command and its parents."""
    ours = os.getpid()
    while ours > 1:
        processes.discard(ours)
        ours = int(Path(f"/proc/{ours}/stat").read_text().rpartition(")")[2].split()[1])
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _let_machines_watch_files() -> None:
    """Raise this computer's limit until its next boot: for the kernel all machines of all labs belong to one user.

    By default a user may have 128 inotify instances, and a lab needs seventy. A kubelet without one ends.
    """
    before = int(_WATCHERS.read_text())
    # If this is not allowed, the limit is still enough for one lab.
    with contextlib.suppress(OSError):
        if before < _WATCHERS_NEEDED:
            _WATCHERS.write_text(str(_WATCHERS_NEEDED))
            print(f"fs.inotify.max_user_instances of this computer was {before}, is {_WATCHERS_NEEDED}", flush=True)
