"""What runs on a node beside its pods: how much memory it holds, how long it takes to start."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from bench import run
from lab.lab import Lab
from lab.shape import Node

_GET = "kubectl --kubeconfig=/dev/null --server=http://127.0.0.1:{} get --raw /healthz"
_UNITS = {
    "containerd": "crictl version",
    "kubelet": _GET.format(10248),
    "etcd": "true",
    "flanneld": "true",
    "api-balancer": "bash -c '</dev/tcp/127.0.0.1/7443'",
    "kube-proxy": _GET.format(10249),
}
"""Each unit and, where systemd is not told by the unit itself, what holds once it serves."""

# One after another, as the others run.
_MEASURE = """
set -e
PATH=$PATH:/opt/kubekeel/bin
measure() {
  process=$(systemctl show -p MainPID --value "$1.service")
  [ "$process" != 0 ] || return 0
  memory=$(awk '/^VmRSS:/ {print $2}' "/proc/$process/status")
  begun=$(date +%s%N)
  systemctl restart "$1.service"
  timeout 60 sh -c "until $2; do sleep 0.02; done" >/dev/null 2>&1
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
    script = _MEASURE + "".join(f"measure {unit} {shlex.quote(ready)}\n" for unit, ready in _UNITS.items())
    lines = run.output([*lab.ssh, node.address, script]).splitlines()
    return [
        Footprint(unit, int(memory) * 1024, int(start) / 1000)
        for unit, memory, start in (line.split() for line in lines)
    ]
