"""What every host needs before any role: packages, a user for etcd, kernel settings, folders, binaries."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.needs import needs
from kubekeel.render import Target
from operations.node import prepare
from operations.store import store

_COMMANDS = {
    "nftables": {"nft": "nftables", "modprobe": "kmod"},
    "iptables": {"iptables": "iptables", "modprobe": "kmod"},
}


@deploy("node")
def converge(target: Target) -> None:
    prepare(
        name="packages, user, kernel settings, folders",
        files=render.node(target),
        commands=_COMMANDS[target.cluster.kube_proxy_mode],
    )
    wanted = needs(target.node, target.cluster)
    store(
        name="binaries",
        artifacts=[target.supply.binary(name, wanted.arch) for name in sorted(wanted.binaries)],
    )
