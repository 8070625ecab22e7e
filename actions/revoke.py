"""Revoke issued certificates: `pyinfra -y inventory.py actions/revoke.py --data admin=true`.

This revokes all administrators' certificates, also `pki/admin.conf`, and issues new ones. --data user=NAME revokes a
user's kubeconfig, and reissues the other users'. --data node=NAME revokes all keys of a node, and issues new ones. The
rest is an ordinary deploy, which also finishes an interrupted run.
"""

from pyinfra import host, inventory, local

from operations.rotation import complete
from operations.target import first, here
from operations.users import settle
from run.inventory import cluster_of, node_of
from tasks import control_plane, preflight, turns

preflight.check()

cluster = cluster_of(inventory)
concerned = {*cluster.masters, *cluster.etcd, *(node for node in cluster.nodes if node.name == host.data.get("node"))}

complete(
    name="require all hosts of the revocation",
    nodes=concerned,
    why="a revocation needs all masters, all members of etcd, and a revoked node",
)
local.include("deploy.py")
if node_of(host) == first("masters"):
    settle(name="wait until API servers trust only current authorities")
if not host.data.get("node"):
    # Sessions and watches that began before go on otherwise.
    if "masters" in node_of(host).roles:
        control_plane.end_connections(here())
    turns.follow_endpoints(here())
