"""kubectl on a host."""

from __future__ import annotations

from kubekeel.render import BIN


def kubectl(kubeconfig: str) -> str:
    """Return the command line of kubectl with this kubeconfig."""
    return f"{BIN}/kubectl --kubeconfig={kubeconfig}"


KUBECTL = kubectl("/etc/kubernetes/admin.conf")
"""kubectl on a master, as an administrator of the cluster."""

BARE = kubectl("/dev/null")
"""kubectl without a kubeconfig, for any server."""
