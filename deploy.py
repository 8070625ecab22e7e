"""Deploy Kubernetes to the hosts of an inventory, now and after each change: `pyinfra inventory.py deploy.py`."""

from operations.keys import keep
from operations.target import first, here, joins, leads, serves
from tasks import (
    addons,
    containerd,
    control_plane,
    etcd,
    flannel,
    former_roles,
    kube_proxy,
    kubelet,
    manifests,
    metrics,
    network_policies,
    node,
    preflight,
    settings,
    turns,
)

# This ends the run before any change if a host does not meet the requirements, or belongs to another cluster.
preflight.check()

target = here()
roles = target.node.roles

# The run saves new keys on this computer before any host gets one.
if leads(target.node):
    keep(name="save keys", pki=target.pki)

# One line per role: pyinfra runs each line on all of its hosts before the next line.
former_roles.drain(target)
# Files come to a new node beside the lines that follow, which wait only for those that they need.
node.converge(target, beside=joins(target.node))
settings.check(target)
if target.runs_pods:
    containerd.reach_registries(target)
if serves(target.node):
    turns.restore(target)
    containerd.bring_images(target)
if "etcd" in roles:
    etcd.converge(target)
if joins(target.node):
    flannel.converge(target)
if joins(target.node):
    containerd.converge(target)
if joins(target.node) and "masters" in roles:
    containerd.wait_for_images(target)
if "masters" in roles:
    control_plane.converge(target)
former_roles.converge(target)
if joins(target.node) and "masters" not in roles:
    containerd.wait_for_images(target)
    kubelet.converge(target)
if target.has_kube_proxy and joins(target.node):
    kube_proxy.converge(target)
# Nodes that already serve take turns, masters last.
if serves(target.node):
    turns.converge(target)
if target.relays_metrics:
    metrics.converge(target)
flannel.finish(target)
node.finish(target)
if target.node == first("masters"):
    addons.converge(target)
    manifests.converge()
if target.has_network_policies:
    network_policies.converge(target)
node.tidy(target)
if "etcd" in roles:
    etcd.finish(target)
