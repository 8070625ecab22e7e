"""A deploy that prepares hosts for `kubeadm init` and `kubeadm join`, with Kubekeel's own operations.

The hosts get the same binaries and images as from Kubekeel, and containerd runs. Each host has its subnet of the pod
network on a bridge, with routes to the other hosts' subnets.
"""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Network
from pathlib import Path

from pyinfra.api import deploy

from bench import kubeadm_parts
from kubekeel import render
from kubekeel.cluster import Cluster, Node
from kubekeel.files import Directory, File, Link, Tree
from kubekeel.render import Target
from operations.converge import converge
from operations.store import import_images, store
from operations.target import here
from tasks import containerd, node, preflight

_PARTS = Path(os.environ["KUBEKEEL_BENCH_PARTS"])
_KUBELET = """\
[Unit]
After=containerd.service network-online.target
StartLimitIntervalSec=0

[Service]
Environment="KUBELET_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=/usr/bin/kubelet $KUBELET_ARGS --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""  # noqa: E501 - systemd's own form
_ROUTES = """\
[Unit]
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
{commands}
[Install]
WantedBy=multi-user.target
"""


def _subnet(node: Node, cluster: Cluster) -> IPv4Network:
    subnets = list(cluster.pod_network.subnets(new_prefix=cluster.node_subnet_length))
    return subnets[cluster.nodes.index(node)]


def _conflist(target: Target) -> bytes:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(_subnet(target.node, target.cluster))}]],
            "routes": [{"dst": str(target.cluster.pod_network)}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, portmap]}).encode()


def _routes(target: Target) -> bytes:
    others = [each for each in target.cluster.nodes if each != target.node]
    commands = "".join(
        f"ExecStart=/usr/sbin/ip route replace {_subnet(each, target.cluster)} via {each.address}\n" for each in others
    )
    # systemd refuses a unit without commands.
    return _ROUTES.format(commands=commands or "ExecStart=/bin/true\n").encode()


def _files(target: Target) -> Tree:
    (kubeadm,), _ = kubeadm_parts.read(_PARTS)
    kubelet = target.supply.binary("kubelet", target.node.arch)
    return {
        "/etc/cni": Directory(),
        "/etc/cni/net.d": Directory(),
        "/etc/cni/net.d/10-pods.conflist": File(_conflist(target)),
        "/etc/systemd/system/kubelet.service": File(_KUBELET.encode()),
        "/etc/systemd/system/pod-routes.service": File(_routes(target)),
        "/usr/bin/kubeadm": Link(f"/opt/kubekeel/store/{kubeadm.sha256}/kubeadm"),
        "/usr/bin/kubelet": Link(f"/opt/kubekeel/store/{kubelet.sha256}/kubelet"),
        **render.kubectl(target),
    }


@deploy("kubeadm")
def prepare(target: Target) -> None:
    binaries, images = kubeadm_parts.read(_PARTS)
    store(name="binaries", artifacts=binaries, packing=target.machine.packing)
    import_images(name="images", images=images, packing=target.machine.packing)
    converge(name="files", files=_files(target))


preflight.check()
_target = here()
node.converge(_target)
containerd.converge(_target)
containerd.wait_for_images(_target)
prepare(_target)
