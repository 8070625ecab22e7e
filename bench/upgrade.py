"""Measures how long the API of a cluster with one master is away during an upgrade: by Kubekeel, and by kubeadm."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import kubeadm, run
from kubekeel.release import KUBERNETES_VERSIONS
from lab.lab import Lab

NEW, OLD = KUBERNETES_VERSIONS[:2]
_NEW_KUBEADM = "/root/kubeadm-of-the-new-version"
_UNIT = "/etc/systemd/system/kubelet.service"
# kubeadm refuses a CoreDNS that it does not know, and this one is newer.
_KUBEADM_UPGRADE = f"{_NEW_KUBEADM} upgrade apply {NEW} --yes --ignore-preflight-errors=all --skip-phases=addon/coredns"


@dataclass(frozen=True)
class Away:
    """The longest times in seconds without an answer of the API server's /readyz, in an upgrade from `old` to `new`."""

    old: str
    new: str
    kubekeel: float
    kubeadm: float


def measure(folder: Path) -> Away:
    """Measure on two new labs in `folder`, one after the other, and remove them."""
    return Away(OLD, NEW, _away(folder, _kubekeel), _away(folder, _kubeadm))


def _away(folder: Path, cluster: Callable[[Lab], Callable[[], object]]) -> float:
    """Return the time of an upgrade on a new lab; `cluster` makes the old cluster, and returns its upgrade."""
    lab = Lab(folder)
    lab.down()
    lab.up(masters=1, minions=0)
    try:
        upgrade = cluster(lab)
        with _asked(lab) as longest:
            upgrade()
        return longest[0]
    finally:
        lab.down()


def _kubekeel(lab: Lab) -> Callable[[], object]:
    def deploy(version: str) -> None:
        kubeadm.choose(lab, version)
        run.output(["python", "-m", "lab.artifacts", str(lab.inventory), str(lab.directory / "bin")], lab.environment)
        run.pyinfra(lab.keeper, lab.environment, lab.directory, str(lab.inventory), "deploy.py")

    deploy(OLD)
    return lambda: deploy(NEW)


def _kubeadm(lab: Lab) -> Callable[[], object]:
    (master, *_) = lab.shape.master_nodes
    # A run refuses a host of another cluster. So the files of both versions come before `kubeadm init`, and what would
    # make the second run refuse the host is removed: the first run's record, and kubeadm's unit.
    kubeadm.prepare(lab, NEW)
    kubeadm.on(lab, master, f"cp -L /usr/bin/kubeadm {_NEW_KUBEADM} && rm -r {_UNIT} /etc/kubekeel")
    kubeadm.prepare(lab, OLD)
    kubeadm.on(lab, master, kubeadm.INIT)
    return lambda: kubeadm.on(lab, master, _KUBEADM_UPGRADE)


@contextmanager
def _asked(lab: Lab) -> Iterator[list[float]]:
    """Ask the API server all the time; the list gets the longest time without an answer at the end."""
    (master, *_) = lab.shape.master_nodes
    command = lab.keeper.in_network(["python", "-m", "bench.probe", f"https://{master.address}:6443/readyz"])
    longest: list[float] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=lab.environment
    ) as probe:
        try:
            yield longest
        finally:
            longest.append(float(probe.communicate()[0]))
