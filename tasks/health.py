"""The health checks of everything on a node."""

from __future__ import annotations

from collections.abc import Sequence

from kubekeel.needs import holds_api_vip
from kubekeel.render import Target, stored_binaries
from kubekeel.service import Service
from operations.addons import available
from operations.etcd import SERVES
from operations.members import TIMED
from operations.node import SETTLED
from operations.store import there
from tasks import containerd, control_plane, flannel, kube_proxy, kubelet, metrics, network_policies


def services(target: Target) -> Sequence[Service]:
    """Return the node's systemd units."""
    found = []
    if "etcd" in target.node.roles:
        found.append(Service(unit="etcd", files={}, ready=SERVES))
    if target.runs_pods:
        found += [*flannel.services(target), containerd.service(target), *kubelet.services(target)]
    if holds_api_vip(target.node, target.cluster):
        found.append(control_plane.vip(target))
    if target.has_kube_proxy:
        found.append(kube_proxy.service(target))
    if target.has_network_policies:
        found.append(network_policies.service(target))
    return [*found, *metrics.services(target)]


def conditions(target: Target) -> dict[str, str]:
    """Return shell conditions, by name, for the node's other parts."""
    # A program that runs does not show that its file is still there for its next start.
    kept = " && ".join(f"test -x {path}" for path in stored_binaries(target))
    found = {"kernel settings": SETTLED, "binaries": kept}
    if "etcd" in target.node.roles:
        found["snapshot timer"] = TIMED
    if target.runs_pods:
        found["images"] = there(containerd.images(target))
    if "masters" in target.node.roles:
        found |= control_plane.healthy(target)
    if target.node == next(node for node in target.cluster.masters if node.name not in target.cluster.in_maintenance):
        found["add-ons"] = available(target.cluster)
    return found
