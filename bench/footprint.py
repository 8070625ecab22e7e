"""The units of a node: their memory, and the time of their start."""

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
"""Each unit, and a shell condition that holds once it serves; `true` if the unit itself notifies systemd."""

# One unit after another, while the others run.
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
    """A unit: its memory in bytes, and the seconds from its restart until it serves."""

    unit: str
    memory: int
    start: float


def measure(lab: Lab, node: Node) -> list[Footprint]:
    """Restart each of Kubekeel's units on a node; return their footprints."""
    script = _MEASURE + "".join(f"measure {unit} {shlex.quote(ready)}\n" for unit, ready in _UNITS.items())
    lines = run.output([*lab.ssh, node.address, script]).splitlines()
    return [
        Footprint(unit, int(memory) * 1024, int(start) / 1000)
        for unit, memory, start in (line.split() for line in lines)
    ]
