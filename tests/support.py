"""Helpers of the tests that do harm: deploys to interrupt, writers, probes and a table of results."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from testinfra.host import Host

from kubekeel.artifacts import Packed
from kubekeel.cluster import Cluster, Node
from kubekeel.files import File
from kubekeel.parts import described, written
from kubekeel.pki import Pki
from kubekeel.render import Target
from kubekeel.status import UNITS
from lab.shape import PROJECT
from operations.converge import put
from operations.machine import LOOK, machine
from run.inventory import cluster_of, open_inventory, pki_of, supply_of
from tasks import control_plane, health
from tests.lab_cluster import INVENTORY, STATE, connect, run_kubectl, the_cluster, wait_until

CLUSTER = the_cluster()

SLACK = 3.0
"""The factor by which tests may exceed Kubekeel's times: they share their processors."""

API = f"https://{CLUSTER.masters[0].address}:6443"
ADMIN = STATE / "control/admin"


@dataclass
class Row:
    """The result of one harm; `seconds` is its whole duration."""

    harm: str
    expected: str
    seen: str = "failed"
    seconds: float = 0.0


ROWS: list[Row] = []


@contextlib.contextmanager
def harm(what: str, expected: str) -> Iterator[Row]:
    """Yield the row of the harm that the block does; the block sets `seen`, and the summary shows the row."""
    row = Row(what, expected)
    ROWS.append(row)
    begun = time.monotonic()
    try:
        yield row
    except BaseException as fault:
        row.seen = f"FAILED: {str(fault).splitlines()[0] if str(fault) else type(fault).__name__}"
        raise
    finally:
        row.seconds = time.monotonic() - begun


def summarize(reporter: pytest.TerminalReporter) -> None:
    table = Table("harm", "expected", "seen", "seconds", box=SIMPLE)
    for row in ROWS:
        table.add_row(row.harm, row.expected, escape(row.seen), f"{row.seconds:.0f}")
    console = Console(width=170)
    with console.capture() as shown:
        console.print(table)
    if ROWS:
        reporter.section("harm done")
        reporter.write(shown.get())


def lab(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "lab", *arguments], cwd=PROJECT, check=True)


@cache
def host_of(node: Node) -> Host:
    return connect(node)


def main_pids(node: Node) -> dict[str, str]:
    """Return the main PIDs of the units that a setting may restart."""
    units = ("containerd", "etcd", "kubelet", "kube-proxy")
    return {unit: host_of(node).check_output(f"systemctl show -p MainPID --value {unit}") for unit in units}


def ssh(node: Node, script: str, stdin: str) -> None:
    """Run a script on a node."""
    subprocess.run([*ssh_to(node), script], input=stdin, text=True, check=True)


def ssh_to(node: Node, *options: str) -> list[str]:
    """Return the command that logs in to a node."""
    known_hosts = ("-o", f"UserKnownHostsFile={STATE / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes")
    return ["ssh", *known_hosts, *options, f"root@{node.address}"]


def restart(*nodes: Node) -> None:
    """Stop machines, and start them as `start` does."""
    lab("stop", *(node.name for node in nodes))
    start(*nodes)


def start(*nodes: Node) -> None:
    """Start machines, and wait until they accept logins; their units may start later."""
    names = [node.name for node in nodes]
    starting = subprocess.Popen([sys.executable, "-m", "lab", "start", *names], cwd=PROJECT)
    try:
        for node in nodes:
            wait_until(partial(_answers, node), 180, f"{node.name} lets us in")
    finally:
        # `lab start` waits for all units, and one unit that does not start would make it wait forever.
        starting.terminate()
        starting.wait()


def _answers(node: Node) -> bool:
    try:
        return bool(host_of(node).run("true").rc == 0)
    except RuntimeError:
        return False


# Deploys.


@dataclass(frozen=True)
class Run:
    """A finished deploy; `changes` lists the operations that changed a host."""

    status: int
    output: str

    @property
    def changes(self) -> list[str]:
        changed, operation = [], ""
        for line in self.output.splitlines():
            if started := re.search(r"--> Starting (?:serial )?operation: (.*)", line):
                operation = started[1].strip()
            elif succeeded := re.search(r"\[(\S+)\]\s+Success", line):
                changed.append(f"{operation} on {succeeded[1]}")
        return changed


def with_changes(folder: Path, *lines: str) -> Path:
    """Write the lab's inventory into `folder` with these lines of Python at its end, and return its path."""
    (folder / "group_data").symlink_to(INVENTORY.parent / "group_data")
    inventory = folder / "inventory.py"
    inventory.write_text("\n".join((INVENTORY.read_text(), *lines, "")))
    return inventory


def deploy(*arguments: str, inventory: Path = INVENTORY, project: Path = PROJECT) -> Run:
    done = subprocess.run(
        ["pyinfra", "-y", str(inventory.resolve()), "deploy.py", *arguments],
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900,
    )  # fmt: skip
    return Run(done.returncode, done.stdout)


def deployed(*arguments: str, inventory: Path = INVENTORY, project: Path = PROJECT) -> Run:
    """Run a deploy that must succeed."""
    run = deploy(*arguments, inventory=inventory, project=project)
    assert run.status == 0, run.output
    return run


def act(action: str, *arguments: str) -> None:
    """Run another action that must succeed."""
    done = subprocess.run(
        ["pyinfra", "-y", str(INVENTORY), f"actions/{action}", *arguments],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def settled() -> None:
    """Deploy the lab's inventory, and assert that a second run changes nothing and status has no notes."""
    deployed()
    assert deployed().changes == []
    assert status()["notes"] == []


class Deploy:
    """A running deploy, or other action, that the end of its block kills; `lines` holds its output so far."""

    def __init__(
        self, *arguments: str, action: str = "deploy.py", inventory: Path = INVENTORY, project: Path = PROJECT
    ) -> None:
        self.process = subprocess.Popen(
            ["pyinfra", "-y", str(inventory.resolve()), action, *arguments],
            cwd=project, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def reached(self, operation: str) -> bool:
        """Wait until an operation begins; return False if the deploy ends first."""
        return self.until(lambda: any("--> Starting" in line and operation in line for line in self.lines))

    @property
    def operations(self) -> int:
        """The number of operations that have begun."""
        return sum("--> Starting" in line for line in self.lines)

    def until(self, holds: Callable[[], Any]) -> bool:
        """Wait until `holds`; return False if the deploy ended first."""
        while not holds():
            if self.process.poll() is not None:
                return bool(holds())
            time.sleep(0.02)
        return True

    def pause_when(self, holds: Callable[[], bool]) -> bool:
        """Run the deploy for moments until `holds`, then stop it there; return False if it ended first."""
        while self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
            if holds():
                return True
            self.process.send_signal(signal.SIGCONT)
            time.sleep(0.003)
        return False

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL, so that the deploy cannot clean up, and wait for its end."""
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        status = self.process.wait(timeout=900)
        self._reader.join()
        return status


def packed_for(node: Node, binary: str) -> Packed:
    """Return a binary packed for a node; a stopped deploy may hold the cache's lock, so call this before the deploy."""
    target = target_of(node)
    return target.supply.binary(binary, node.arch).packed(target.machine.packing)


def arrived(node: Node, packed: Packed) -> float:
    """Return the fraction (0 to 1) of a packed file that has arrived on a node."""
    size = host_of(node).run(f"stat -c %s /opt/kubekeel/incoming/{packed.name}").stdout
    return int(size or 0) / packed.file.stat().st_size


def half_written(host: Host, binary: str) -> list[str]:
    """Return the stored binaries of this name whose SHA-256 differs from the name of their folder."""
    listing = host.check_output(f"cd /opt/kubekeel/store; sha256sum */{binary} 2>/dev/null || true")
    return [path for digest, path in map(str.split, listing.splitlines()) if not path.startswith(digest)]


# The state of a cluster.


def status(inventory: Path = INVENTORY) -> dict[str, Any]:
    """Return the JSON of actions/status.py, and assert that its exit status agrees with it."""
    done = subprocess.run(
        ["pyinfra", "-y", "--json", str(inventory), "actions/status.py"],
        cwd=PROJECT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["healthy"] == (done.returncode == 0), done.stderr
    return found


def healthy_status(patience: float, inventory: Path = INVENTORY) -> dict[str, Any]:
    """Return the first status that calls the whole cluster healthy, within `patience` seconds."""
    last: dict[str, Any] = {}

    def healthy() -> bool:
        last.update(status(inventory))
        return bool(last["healthy"])

    try:
        wait_until(healthy, patience, "the cluster is healthy")
    except AssertionError as fault:
        raise AssertionError(f"{fault}; {last.get('problems')}") from fault
    return last


def wait_healthy(patience: float, inventory: Path = INVENTORY) -> float:
    """Wait until the whole cluster is healthy, and return after how many seconds it was."""
    begun = time.monotonic()
    healthy_status(patience, inventory)
    return time.monotonic() - begun


def certificates() -> dict[str, str]:
    """Return the SHA-256 of each key and certificate in the state directory, by its path there."""
    paths = (path for path in STATE.rglob("*") if path.suffix in (".crt", ".key", ".pub"))
    return {str(path.relative_to(STATE)): sha256(path.read_bytes()).hexdigest() for path in paths}


_FILES = """
cd /
find etc/kubernetes etc/etcd etc/flannel etc/containerd etc/systemd/system opt/kubekeel \
  var/lib/kubelet/config.yaml var/lib/kube-proxy \\( -type f -o -type l -o -type d \\) \
  -printf '%p %y %m %u:%g %l\\n' | sort
find etc/kubernetes etc/etcd etc/flannel etc/containerd etc/systemd/system opt/kubekeel/libexec -type f \
  -exec sha256sum {} + | sort
"""


def files(host: Host) -> str:
    """Return the list of all files that a deploy writes on a node, with modes, owners and digests."""
    return host.check_output(_FILES)


def leftovers(host: Host) -> list[str]:
    """Return the temporary files that an interrupted deploy left on a node."""
    found = host.check_output(
        "find /opt/kubekeel/incoming -mindepth 1;"
        " find /etc /var/lib/kubelet/config.yaml /var/lib/kube-proxy /opt/kubekeel -name '.*.kubekeel-new'"
    )
    return found.split()


def containers(host: Host, *namespaces: str) -> dict[str, str]:
    """Return the name and start of each running container of a node in these namespaces, by its id.

    The id changes when the container restarts.
    """
    listing = json.loads(host.check_output("crictl ps -o json"))["containers"]
    return {
        container["id"]: f"{container['metadata']['name']} since {container['createdAt']}"
        for container in listing
        if container["labels"]["io.kubernetes.pod.namespace"] in namespaces
    }


def unit_times(host: Host, unit: str) -> tuple[float, float]:
    """Return when a unit last stopped and when it last became active, in seconds of the host's monotonic clock."""
    shown = host.check_output(
        f"systemctl show -p ActiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic {unit}.service"
    )
    times = dict(line.split("=") for line in shown.splitlines())
    return int(times["ActiveExitTimestampMonotonic"]) / 1e6, int(times["ActiveEnterTimestampMonotonic"]) / 1e6


def kill_unit(host: Host, unit: str) -> float:
    """Send SIGKILL to a unit's process, and return after how many seconds systemd had it active again."""
    before, _ = unit_times(host, unit)
    host.check_output(f"systemctl kill --kill-whom=main --signal=KILL {unit}.service")

    def back() -> float:
        ended, active = unit_times(host, unit)
        return active - ended if ended > before and active > ended else 0.0

    return float(wait_until(back, 120, f"{unit} is active again"))


def healthy_again(node: Node, unit: str) -> float:
    """Wait until a unit serves, and return after how many seconds it did."""
    begun = time.monotonic()
    probes = {service.unit: service.ready for service in health.services(target_of(node))}
    wait_until(lambda: host_of(node).run(probes[unit]).rc == 0, 120, f"{unit} serves on {node.name}")
    return time.monotonic() - begun


def kill_unnoticed_by_pods(node: Node, unit: str, namespace: str) -> None:
    """Send SIGKILL to a unit's process, and assert that it is healthy in seconds and no pod restarts."""
    host = host_of(node)
    before = containers(host, "kube-system", namespace)
    with harm(f"SIGKILL of {unit} on {node.name}", "active in 5 s, healthy in 30 s, no pod restarts") as row:
        active = kill_unit(host, unit)
        healthy = healthy_again(node, unit)
        row.seen = f"active in {active:.1f} s, healthy in {healthy:.0f} s, {len(before)} containers went on"
        assert active <= 5 * SLACK
        assert healthy <= 30 * SLACK
        assert containers(host, "kube-system", namespace).items() >= before.items()


def kill_pod(master: Node, pod: str) -> float:
    """Send SIGKILL to a static pod's process, and return after how many seconds its successor serves."""
    host, find = host_of(master), f"pgrep -xf '{pod} .*'"
    # An earlier harm may also have ended it.
    pid = wait_until(lambda: host.run(find).stdout.strip(), 120, f"{pod} runs")
    begun = time.monotonic()
    host.check_output(f"kill -9 {pid}")
    serves = f"[ $({find}) != {pid} ] && {control_plane.healthy(target_of(master))[pod]}"
    wait_until(lambda: host.run(serves).rc == 0, 120, f"{pod} serves")
    if pod != "kube-apiserver":
        wait_until(lambda: _lease_renewed(pod) > begun, 120, f"{pod} is led")
    return time.monotonic() - begun


def _lease_renewed(pod: str) -> float:
    """Return when the leader of a static pod last renewed its lease, in seconds of this computer's monotonic clock."""
    lease = json.loads(run_kubectl("-n", "kube-system", "get", "lease", pod, "-o", "json"))["spec"]
    renewed = datetime.fromisoformat(lease["renewTime"]).timestamp()
    return renewed - time.time() + time.monotonic()


def leader() -> Node:
    """Return the node whose member of etcd is the leader."""
    (name,) = (node["name"] for node in status()["nodes"] if node["member"] and node["member"]["leads"])
    return CLUSTER.node(name)


def running_since(cluster: Cluster) -> dict[str, str]:
    """Return the start of every unit and container that Kubekeel runs, by name and node."""
    starts = {}
    for node in cluster.nodes:
        host = host_of(node)
        for unit in units_of(node):
            shown = host.check_output(f"systemctl show -p MainPID,ExecMainStartTimestamp {unit}.service")
            starts[f"{unit} on {node.name}"] = shown
        starts |= {f"{each} on {node.name}": start for each, start in containers(host, "kube-system").items()}
    return starts


def units_of(node: Node) -> tuple[str, ...]:
    """Return the units of a node, which depend on its roles and on settings."""
    paths = written(node, CLUSTER)
    return tuple(unit for unit in UNITS if f"/etc/systemd/system/{unit}.service" in paths)


# Certificates.


@cache
def target_of(node: Node) -> Target:
    inventory = open_inventory(INVENTORY)
    words = dict(line.partition(" ")[::2] for line in host_of(node).run(LOOK).stdout.splitlines())
    return Target(node, machine(words), cluster_of(inventory), pki_of(inventory, inventory), supply_of(inventory))


def age_leaves(days: int) -> None:
    """Reissue all leaf certificates as if they were issued so many days ago."""
    for folder in (STATE / "nodes", STATE / "control"):
        for path in (*folder.rglob("*.crt"), *folder.rglob("*.key")):
            path.unlink()
    _leaves(days).save()


def _leaves(days: int) -> Pki:
    return Pki.open(STATE, CLUSTER, datetime.now(UTC) - timedelta(days=days))


def push(cluster: Cluster, days: int) -> None:
    """Write the leaf certificates of the state directory to the nodes, and renew none."""
    pki = _leaves(days)
    for node in cluster.nodes:
        tree = described(replace(target_of(node), pki=pki))
        paths = {path for path, entry in tree.items() if isinstance(entry, File)}
        pairs = {path.removesuffix(".key") for path in paths if path.endswith(".key")}
        halves = {f"{pair}{half}" for pair in pairs if f"{pair}.crt" in paths for half in (".crt", ".key")}
        leaves = {path: tree[path] for path in halves}
        command = put(leaves)
        ssh(node, command.get_raw_value(), "\n".join(command.connector_arguments["_stdin"]))


# Traffic.


def client(pair: Path = ADMIN, balancer: Path | None = None) -> httpx.Client:
    """Return an HTTP client of the API with a current pair of the state directory, by its path without suffix.

    It sends to the first master, or else to a node's balancer behind a Unix socket of this computer.
    """
    context = ssl.create_default_context(cafile=str(STATE / "ca.crt"))
    halves = (pair.with_suffix(".crt"), pair.with_suffix(".key"))
    try:
        context.load_cert_chain(*halves)
    except ssl.SSLError:
        # While a run renews the pair, certificate and key do not match for a moment.
        time.sleep(1)
        context.load_cert_chain(*halves)
    transport = httpx.HTTPTransport(verify=context, uds=balancer and str(balancer))
    return httpx.Client(base_url="https://127.0.0.1:7443" if balancer else API, transport=transport, timeout=5)


@dataclass
class Traffic:
    """Requests that a thread repeats while harm is done, with the time of each good answer.

    A request begins `pause` seconds after the one before, or when that one ends.
    """

    ask: Callable[[int], None]
    pause: float
    good: dict[int, float] = field(default_factory=dict)
    bad: dict[int, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()
        wait_until(lambda: self.good, 60, "the first answer")
        return self

    def _go(self) -> None:
        number, due = 0, time.monotonic()
        while not self._end.wait(max(0.0, due - time.monotonic())):
            number, due = number + 1, time.monotonic() + self.pause
            try:
                self.ask(number)
                self.good[number] = time.monotonic()
            except (httpx.HTTPError, ssl.SSLError, OSError) as fault:
                self.bad[number] = f"{type(fault).__name__}: {fault}"

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def gap(self) -> float:
        """The longest time between two good answers, in seconds."""
        times = list(self.good.values())
        return max((after - before for before, after in pairwise(times)), default=0.0)


@dataclass
class Writes(Traffic):
    """Writes with sequence numbers through the API, a few per second."""

    namespace: str = ""
    series: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def lost(self) -> set[int]:
        """Return the numbers of the acknowledged writes that are missing."""
        listing = run_kubectl("-n", self.namespace, "get", "configmaps", "-l", f"series={self.series}", "-o", "json")
        stored = {int(each["data"]["number"]) for each in json.loads(listing)["items"]}
        return set(self.good) - stored


def writing(namespace: str, pause: float = 0.2) -> Writes:
    def write(number: int) -> None:
        name = {"name": f"{writes.series}-{number}", "labels": {"series": writes.series}}
        body = {"metadata": name, "data": {"number": str(number)}}
        with client() as session:
            session.post(f"/api/v1/namespaces/{namespace}/configmaps", json=body).raise_for_status()

    writes = Writes(write, pause=pause, namespace=namespace)
    return writes


def probing() -> Traffic:
    """Return requests to the API's readiness endpoint, five per second, each over its own connection."""

    def probe(_: int) -> None:
        with client() as session:
            session.get("/readyz").raise_for_status()

    return Traffic(probe, pause=0.2)


def fetching(url: str) -> Traffic:
    """Wait until a service answers; return requests to it, ten per second, each over its own connection."""
    session = httpx.Client(headers={"Connection": "close"}, timeout=5, trust_env=False)

    def fetch(_: int) -> None:
        session.get(url).raise_for_status()

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return session.get(url).is_success
        return False

    # kube-proxy learns of a new service in moments.
    wait_until(answers, 60, f"{url} answers")
    return Traffic(fetch, pause=0.1)
