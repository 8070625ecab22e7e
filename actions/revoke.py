"""What was issued is refused from now on: `pyinfra -y inventory.py actions/revoke.py --data admin=true`.

All administrators' pairs there are, `pki/admin.conf` among them, lose their rights, and new ones follow. With
--data user=NAME it is the kubeconfig of a user, and the other users get new ones. With --data node=NAME it is all keys
of a node, which gets new ones. All else is an ordinary deploy, which also finishes a run that was cut.
"""

from pyinfra import host, inventory, local

from operations.rotation import complete
from operations.target import first
from operations.users import settle
from run.inventory import cluster_of, node_of
from tasks import preflight

preflight.check()

cluster = cluster_of(inventory)
concerned = {*cluster.masters, *cluster.etcd, *(node for node in cluster.nodes if node.name == host.data.get("node"))}

complete(
    name="require all hosts that refuse it",
    nodes=concerned,
    why="masters and members of etcd refuse what is revoked together",
)
local.include("deploy.py")
if node_of(host) == first("masters"):
    settle(name="wait until API servers trust nobody else")
