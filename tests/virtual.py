"""Virtual machines with Debian's own kernel, and a cluster on them: the first host has all three roles."""

from __future__ import annotations

import json
import os
import platform
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

from lab.image import ARCHIVE
from lab.lab import Lab
from lab.shape import GATEWAY, PROJECT, keep_keys_in
from tests.clones import to_the_internet
from tests.lab_cluster import LAB, STATE, server, service, the_cluster, wait_until
from tests.lab_command import Command, lab_in
from tests.support import SLACK, start, wait_healthy

# Emulated, everything takes some ten times as long.
PATIENCE = 3600
FOLDER = LAB.directory / "vm"


@dataclass(frozen=True)
class Machine:
    """The hosts of a cluster, `master` first; `lab` is `python3 -m lab` for them."""

    lab: Command
    folder: Path
    names: tuple[str, ...] = ("master",)

    @property
    def patience(self) -> int:
        """Seconds for a command: all machines share this computer's processors."""
        return PATIENCE * len(self.names)

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory.py"

    def run(self, action: str, *arguments: str) -> str:
        """What a run of pyinfra says, that succeeds."""
        command = ("run", "--", "pyinfra", "-y", str(self.inventory), action, *arguments)
        done = self.lab(*command, check=False, patience=self.patience)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def wait_healthy(self) -> None:
        """Wait until everything serves: a unit heals by itself, and the last one may still be about to."""
        command = ("run", "--", "pyinfra", "-y", str(self.inventory), "actions/status.py")
        seen: list[str] = []

        def serves() -> bool:
            done = self.lab(*command, check=False, patience=PATIENCE)
            seen[:] = [done.stdout + done.stderr]
            return done.returncode == 0

        try:
            wait_until(serves, self.patience, "everything serves")
        except AssertionError as late:
            raise AssertionError(f"{late}\n{''.join(seen)}") from None

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

    def containers(self) -> list[str]:
        """The IDs of the containers of such pods."""
        pods = json.loads(self.kubectl("get", "pods", "-o", "json"))["items"]
        return sorted(each["containerID"] for pod in pods for each in pod["status"]["containerStatuses"])

    def page(self, url: str, pod: str = "web") -> str:
        """The page at `url` as a pod sees it; empty where the pod does not get it."""
        fetch = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=20).read().decode())"
        done = self.lab("kubectl", "exec", pod, "--", "python3", "-c", fetch, check=False, patience=PATIENCE)
        return done.stdout.strip()

    # In the pod `web`, its short name is the pod's own address, by /etc/hosts.
    def wait_page(self, url: str = "http://web.default", pod: str = "web", page: str = "master") -> None:
        """Wait until a pod gets this page, by default that of `web` through its service."""
        wait_until(lambda: self.page(url, pod) == page, PATIENCE, f"{pod} gets {page or 'nothing'} from {url}")

    def on(self, script: str, node: str = "master") -> str:
        """What a shell script prints on a machine."""
        return self.lab("shell", node, "--", "sh", "-c", script, patience=PATIENCE).stdout.strip()

    def boot(self) -> str:
        """The ID of the first machine's boot; empty while the machine is away."""
        look = ("shell", "master", "--", "cat", "/proc/sys/kernel/random/boot_id")
        return self.lab(*look, check=False, patience=PATIENCE).stdout.strip()

    def wait_back(self, before: str) -> None:
        """Wait until the node is Ready in another boot than that one, and everything serves."""

        def back() -> bool:
            done = self.lab("kubectl", "get", "node", "master", "-o", "json", check=False, patience=PATIENCE)
            if done.returncode:
                return False
            status = json.loads(done.stdout)["status"]
            ready = [each["status"] for each in status["conditions"] if each["type"] == "Ready"]
            return bool(status["nodeInfo"]["bootID"] != before and ready == ["True"])

        wait_until(back, PATIENCE, "the node is Ready again")
        self.wait_healthy()

    def kubectl(self, *arguments: str, given: str = "") -> str:
        return self.lab("kubectl", *arguments, given=given, patience=PATIENCE).stdout


@contextmanager
def machine_of(*arguments: str, minions: int = 0, **settings: object) -> Iterator[Machine]:
    """Machines as their distribution makes them, and an inventory with these settings of a cluster.

    Meanwhile the lab's own machines are off.
    """
    if platform.machine() != "x86_64":
        pytest.skip("the lab has virtual machines on x86-64 only")
    with _lab_off(), _new_lab() as lab:
        shape = ("--masters", "1", "--minions", str(minions))
        # This makes the root file systems of the machine and of the emulator, once, from Debian's archive.
        lab("up", "--vm", "--no-deploy", *shape, *arguments, under=tuple(to_the_internet()), patience=PATIENCE)
        nodes = Lab(FOLDER).shape.nodes
        machine = Machine(lab, FOLDER / "one", tuple(node.name for node in nodes))
        machine.folder.mkdir()
        machine.set(**settings)
        hosts = [
            (node.name, {"address": node.address, "ssh_hostname": node.address, "ssh_user": "root"}) for node in nodes
        ]
        machine.inventory.write_text(f"etcd = masters = {hosts[:1]!r}\nminions = {hosts!r}\n")
        machine.fetch()
        with _packages_served(machine):
            yield machine


@contextmanager
def _lab_off() -> Iterator[None]:
    """Switch the lab's machines off and on again: an emulated machine needs all of this computer's processors."""
    nodes = the_cluster().nodes
    on = [node for node in nodes if LAB.machine(node.name).is_on]
    LAB.stop([node.name for node in on])
    try:
        yield
    finally:
        if on:
            start(*on)
        # A lab with machines off is not healthy.
        if len(on) == len(nodes):
            wait_healthy(300 * SLACK)


@contextmanager
def _new_lab() -> Iterator[Command]:
    """Yield `python3 -m lab` for a lab without machines, which gets the same artifacts as the lab of this run."""
    pins = STATE / "artifacts.lock"
    if not pins.exists():
        pytest.fail(f"{pins}: is missing; `python3 -m lab up` makes it")
    lab = lab_in(FOLDER)
    # An interrupted run may have left its machines.
    lab("down")
    (FOLDER / "pki").mkdir(mode=0o700, parents=True)
    shutil.copy(pins, FOLDER / "pki")
    try:
        yield lab
    finally:
        # pytest shows them if something failed.
        for console in sorted(FOLDER.glob("*/console.log")):
            print("\n".join([str(console), *console.read_text(errors="replace").splitlines()[-40:]]))
        lab("down")


@contextmanager
def _packages_served(machine: Machine) -> Iterator[None]:
    """Let the machines install packages by HTTP, as on users' hosts, from the folder that came with their image."""
    here = machine.folder.parent
    serve = (sys.executable, "-m", "lab", "run", "--", "python", "-m", "http.server", "8080", "--bind", GATEWAY)
    serving = subprocess.Popen(
        [*serve, "--directory", str(here / "image" / ARCHIVE)],
        cwd=PROJECT, env={**os.environ, "KUBEKEEL_LAB_DIR": str(here)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for name in machine.names:
            served = (
                f"curl --silent --fail --retry 60 --retry-all-errors --retry-delay 1 http://{GATEWAY}:8080/Packages"
            )
            source = f"deb [trusted=yes] http://{GATEWAY}:8080 ./"
            machine.on(f"set -e; {served} >/dev/null; echo '{source}' >/etc/apt/sources.list", name)
        yield
    finally:
        serving.terminate()
        serving.wait()
