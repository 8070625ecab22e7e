"""kubelet, and the balancer through which everything on a node reaches the API servers."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.cluster import Node
from kubekeel.needs import STATIC_PODS
from kubekeel.render import Target
from kubekeel.service import Service
from kubekeel.shell import script
from operations.converge import converge as _converge
from operations.kubectl import BARE, kubectl
from operations.static_pods import stop

_END = script("control_plane/end-static-pods.sh")
# From their logs, and not by crictl, which takes a second or two to start on a slow host.
_PROGRESS = """
find {folders} -mindepth 1 -maxdepth 1 | plain
tail -q -n 100 {logs} | plain
journalctl -u containerd.service -n 300 --no-pager -q -o cat | grep -vF '"container event discarded"' | plain
"""

# kubelet numbers the log files of a container.
_RESTARTS = r"find {folders} -name '[0-9]*.log' | sed 's,/\([0-9]*\)[.]log$, \1,'"


def progress(node: Node, pods: Sequence[str]) -> str:
    """Return a shell script that prints what shows progress of these static pods of a node.

    Other pods' logs do not count: while no API server answers, they complain about each kind of object.
    """
    folders = _folders(node, pods)
    return _PROGRESS.format(folders=" ".join(folders), logs=" ".join(f"{folder}/*/*.log" for folder in folders))


def restarts(node: Node, pods: Sequence[str]) -> str:
    """Return a shell script that prints the log folder of each container of these static pods, and its restarts."""
    return _RESTARTS.format(folders=" ".join(_folders(node, pods)))


def _folders(node: Node, pods: Sequence[str]) -> list[str]:
    return [f"/var/log/pods/kube-system_{pod}-{node.name}_*" for pod in pods]


def balancer(target: Target) -> Service:
    return Service(unit="api-balancer", files=render.api_balancer(target), ready="true")


def services(
    target: Target, also: str = "true", explain: str = "true", pods: Sequence[str] = STATIC_PODS
) -> list[Service]:
    """Return the balancer and the kubelet of a node; the kubelet is ready once its Node is Ready and `also` holds.

    `also` waits for these static pods.
    """
    alive = f"{BARE} --server=http://127.0.0.1:10248 get --raw /healthz"
    look = (
        f"{kubectl('/etc/kubernetes/kubelet.conf')} get"
        f' --raw /api/v1/nodes/{target.node.name} | grep -o \'"type":"Ready"[^}}]*\''
    )
    # A user who installs the network can do so only once there are Nodes.
    waits = "" if target.has_flannel else "|NetworkPluginNotReady"
    ready = f"""node=$({look}) && echo "$node" && echo "$node" | grep -qE '"status":"True"{waits}'"""
    end = shlex.join(["sh", "-c", _END, "sh", stop(target.node, *STATIC_PODS, seconds=30)])
    return [
        balancer(target),
        Service(
            unit="kubelet",
            files=render.kubelet(target),
            ready=" && ".join((alive, also, ready) if target.registered else (also,)),
            patience=240,
            explain=explain,
            progress=progress(target.node, pods),
            before=end if "masters" in target.node.roles else "true",
        ),
    ]


@deploy("kubelet")
def converge(target: Target) -> None:
    _converge(name="start kubelet", services=services(target), files=render.kubectl(target))
