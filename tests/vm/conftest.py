"""A virtual machine with Debian's own kernel, and a cluster on it: one host with all three roles."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.lab import Lab
from lab.shape import PROJECT, keep_keys_in
from tests.chaos.machines import LISTING
from tests.clones import to_the_internet
from tests.lab_cluster import STATE, server, service
from tests.lab_command import Command, lab_in

# Emulated, everything takes some ten times as long.
PATIENCE = 3600
# The cluster is made with these, and upgraded to what the catalogue has.
EARLIER = {"containerd": "v2.4.1"}


@dataclass(frozen=True)
class Machine:
    """The only host of a cluster; `lab` is `python3 -m lab` for it."""

    lab: Command
    folder: Path

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory.py"

    def run(self, action: str, *arguments: str) -> str:
        """What a run of pyinfra says, that succeeds."""
        command = ("run", "--", "pyinfra", "-y", str(self.inventory), action, *arguments)
        done = self.lab(*command, check=False, patience=PATIENCE)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def is_healthy(self) -> bool:
        command = ("run", "--", "pyinfra", "-y", str(self.inventory), "actions/status.py")
        return self.lab(*command, check=False, patience=PATIENCE).returncode == 0

    def changes(self) -> list[str]:
        """The operations of a deploy that change something."""
        operation, found = "", []
        for line in self.run("deploy.py").splitlines():
            if begun := re.search(r"Starting (?:serial )?operation: (.+?) *$", line):
                operation = begun[1]
            elif re.search(r"\] +Success", line):
                found.append(operation)
        return found

    def set(self, **settings: object) -> None:
        """Have these settings of a cluster, beside those that every lab has."""
        keep_keys_in(self.folder.parent / "pki", self.folder)
        with (self.folder / "group_data/all.py").open("a") as file:
            file.writelines(f"{name} = {value!r}\n" for name, value in settings.items())

    def fetch(self) -> None:
        """Get what the cluster needs, as `python3 -m lab up` does, where there is an internet: the lab has none."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBEKEEL_")}
        fetching = [sys.executable, "-m", "lab.artifacts", str(self.inventory), str(self.folder.parent / "bin")]
        done = subprocess.run(
            [*to_the_internet(), *fetching],
            cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def image(self) -> str:
        """An image that is there, with Python: the dashboard's."""
        look = ("-n", "kube-system", "get", "deployment", "dashboard", "-o", "json")
        (container,) = json.loads(self.kubectl(*look))["spec"]["template"]["spec"]["containers"]
        return str(container["image"])

    def apply(self, objects: Iterable[dict[str, Any]]) -> str:
        """Make these objects; what the API server warns of."""
        given = "---\n".join(f"{json.dumps(each)}\n" for each in objects)
        return self.lab("kubectl", "apply", "-f", "-", given=given, patience=PATIENCE).stderr

    def serve(self) -> None:
        """Have a pod `web` that answers by HTTP, behind a service of that name."""
        self.apply((server("web", "master", self.image()), service()))
        self.kubectl("wait", "pod", "web", "--for=condition=Ready", "--timeout=600s")

    def page(self, url: str) -> str:
        """The page at `url` as that pod sees it; empty where the pod does not get it."""
        fetch = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=20).read().decode())"
        return self.lab("kubectl", "exec", "web", "--", "python3", "-c", fetch, check=False).stdout.strip()

    def on(self, script: str) -> str:
        """What a shell script prints on the machine."""
        return self.lab("shell", "master", "--", "sh", "-c", script, patience=PATIENCE).stdout.strip()

    def kubectl(self, *arguments: str, given: str = "") -> str:
        return self.lab("kubectl", *arguments, given=given, patience=PATIENCE).stdout


@contextmanager
def machine_of(folder: Path, *arguments: str, **settings: object) -> Iterator[Machine]:
    """A machine as its distribution makes it, and an inventory with these settings of a cluster."""
    (folder / "pki").mkdir(mode=0o700)
    # What the artifacts come from is what it was for the lab that this test runs in.
    shutil.copy(STATE / "artifacts.lock", folder / "pki")
    lab = lab_in(folder)
    try:
        shape = ("--masters", "1", "--minions", "0")
        # This makes the root file systems of the machine and of the emulator, once, from Debian's archive.
        lab("up", "--vm", "--no-deploy", *shape, *arguments, under=tuple(to_the_internet()), patience=PATIENCE)
        machine = Machine(lab, folder / "one")
        (node,) = Lab(folder).shape.nodes
        machine.folder.mkdir()
        machine.set(**settings)
        data = {"address": node.address, "ssh_hostname": node.address, "ssh_user": "root"}
        machine.inventory.write_text(f"etcd = masters = minions = [({node.name!r}, {json.dumps(data)})]\n")
        machine.fetch()
        yield machine
    finally:
        # pytest shows it if something failed.
        if (console := folder / "master/console.log").exists():
            print("\n".join(console.read_text(errors="replace").splitlines()[-40:]))
        lab("down")


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine_of(tmp_path_factory.mktemp("vm"), versions=EARLIER) as machine:
        yield machine


@pytest.fixture(scope="session")
def before(bare: Machine) -> str:
    """All that a cluster could leave on the machine, as it was without one."""
    return bare.on(LISTING)


@pytest.fixture(scope="session")
def machine(bare: Machine, before: str) -> Machine:  # noqa: ARG001 - it comes before the cluster
    """The machine after a first deploy."""
    bare.run("deploy.py")
    return bare
