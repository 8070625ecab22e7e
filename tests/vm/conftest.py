"""A virtual machine with Debian's own kernel, and a cluster on it: one host with all three roles."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.lab import Lab
from lab.shape import keep_keys_in
from tests.lab_cluster import STATE
from tests.lab_command import Command, lab_in

# Emulated, everything takes some ten times as long.
PATIENCE = 3600


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

    def changes(self) -> list[str]:
        """The operations of a deploy that change something."""
        operation, found = "", []
        for line in self.run("deploy.py").splitlines():
            if begun := re.search(r"Starting (?:serial )?operation: (.+?) *$", line):
                operation = begun[1]
            elif re.search(r"\] +Success", line):
                found.append(operation)
        return found

    def on(self, script: str) -> str:
        """What a shell script prints on the machine."""
        return self.lab("shell", "master", "--", "sh", "-c", script, patience=PATIENCE).stdout.strip()

    def kubectl(self, *arguments: str, given: str = "") -> str:
        return self.lab("kubectl", *arguments, given=given, patience=PATIENCE).stdout


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine as its distribution makes it."""
    folder = tmp_path_factory.mktemp("vm")
    (folder / "pki").mkdir(mode=0o700)
    # Here is no internet: what the artifacts come from is what it was for the lab that this test runs in.
    shutil.copy(STATE / "artifacts.lock", folder / "pki")
    lab = lab_in(folder)
    try:
        lab("up", "--vm", "--no-deploy", "--masters", "1", "--minions", "0", patience=PATIENCE)
        machine = Machine(lab, folder / "one")
        (node,) = Lab(folder).shape.nodes
        machine.folder.mkdir()
        data = {"address": node.address, "ssh_hostname": node.address, "ssh_user": "root"}
        machine.inventory.write_text(f"etcd = masters = minions = [({node.name!r}, {json.dumps(data)})]\n")
        keep_keys_in(folder / "pki", machine.folder)
        lab("run", "--", "python", "-m", "lab.artifacts", str(machine.inventory), str(folder / "bin"))
        yield machine
    finally:
        lab("down")


@pytest.fixture(scope="session")
def machine(bare: Machine) -> Machine:
    """The machine after a first deploy."""
    bare.run("deploy.py")
    return bare
