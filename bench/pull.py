"""Light machines download the real files from a web server: with Kubekeel, and with plain curl."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import run, supplied
from bench.fleet import Fleet, nodes
from kubekeel.artifacts import ZSTD
from lab.shape import GATEWAY

HOSTS = 10
"""They share one disk, which would limit more of them."""
_ROUNDS = 3
_PORT = 8000
_PULL = ("--data", "artifact_delivery=pull", "--data", f"artifact_server=http://{GATEWAY}:{_PORT}")


@dataclass(frozen=True)
class Pull:
    """The seconds until all `hosts` together have downloaded `bytes`, with Kubekeel and with curl (medians).

    `checking` are the seconds in which they only compute the SHA-256 of all these files. `sent` has the bytes that the
    control machine sends to a host, at most, in a first deploy of this kind.
    """

    hosts: int
    bytes: int
    seconds: float
    curl: float
    checking: float
    sent: int


def measure(folder: Path, hosts: int = HOSTS) -> Pull:
    """Measure on a new fleet in `folder`, and remove it."""
    fleet = Fleet(folder)
    fleet.up()
    try:
        fleet.power_on(nodes(hosts))
        with _served(fleet, hosts):
            return _measure(fleet, hosts)
    finally:
        fleet.down()


def _measure(fleet: Fleet, hosts: int) -> Pull:
    # The machines already have placeholders for binaries and images.
    files = fleet.deploy(hosts)
    records = [fleet.deploy(hosts, *_PULL, file="bench/fetch.py") for _ in range(_ROUNDS)]
    took = [{step.name: step.end - step.begin for step in record.steps} for record in records]
    inventory = str(fleet.inventory(hosts))
    loads = supplied.read(run.output(["python", "-m", "bench.supplied", inventory], fleet.environment))
    return Pull(
        hosts=hosts,
        bytes=sum(load.bytes(ZSTD) for load in loads.values()),
        seconds=median(steps["fetch"] for steps in took),
        curl=median(steps["curl"] for steps in took),
        checking=median(steps["check"] for steps in took),
        sent=files.most_sent + records[0].most_sent,
    )


@contextmanager
def _served(fleet: Fleet, hosts: int) -> Iterator[None]:
    """Run a web server with the published files; it is ready long before the hosts are."""
    folder = fleet.folder / "served"
    run.output(["python", "-m", "run.publish", str(fleet.inventory(hosts)), str(folder)], fleet.environment)
    serve = [sys.executable, "-m", "http.server", str(_PORT), "--bind", GATEWAY, "--directory", str(folder)]
    server = subprocess.Popen(fleet.keeper.in_network(serve), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait()
