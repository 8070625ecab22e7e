"""What runs on a node beside its pods: how much memory it holds, how long it takes to start."""

from __future__ import annotations

from dataclasses import dataclass

from bench import run
from lab.lab import Lab
from lab.shape import Node

_UNITS = {
    "containerd": "crictl version >/dev/null",
    "kubelet": "kubectl --kubeconfig=/dev/null --server=http://127.0.0.1:10248 get --raw /healthz >/dev/null",
    "etcd": "true",
    "flanneld": "true",
    "api-balancer": "kubectl --kubeconfig=/dev/null --insecure-skip-tls-verify --server=https://127.0.0.1:7443 "
    "get --raw /livez >/dev/null",
    "kube-proxy": "kubectl --kubeconfig=/dev/null --server=http://127.0.0.1:10249 get --raw /healthz >/dev/null",
}
"""Each unit and, where systemd is not told by the unit itself, what holds once it serves."""

# Restarted in this order: each one as the others run.
_MEASURE = """
PATH=$PATH:/opt/kubekeel/bin
measure() {
  process=$(systemctl show -p MainPID --value "$1.service")
  [ "$process" != 0 ] || return 0
  memory=$(awk '/^VmRSS:/ {print $2}' "/proc/$process/status")
  begun=$(date +%s%N)
  systemctl restart "$1.service"
  until sh -c "$2" 2>/dev/null; do sleep 0.02; done
  echo "$1 $memory $(( ($(date +%s%N) - begun) / 1000000 ))"
}
"""


@dataclass(frozen=True)
class Footprint:
    """A unit: the bytes it holds in memory, the seconds from its restart to its service."""

    unit: str
    memory: int
    start: float


def measure(lab: Lab, node: Node) -> list[Footprint]:
    """Each of our units on a node, restarted."""
    script = _MEASURE + "".join(f"measure {unit} '{ready}'\n" for unit, ready in _UNITS.items())
    lines = run.output([*lab.ssh, node.address, script]).splitlines()
    return [
        Footprint(unit, int(memory) * 1024, int(start) / 1000)
        for unit, memory, start in (line.split() for line in lines)
    ]
