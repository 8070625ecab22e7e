"""A kubeconfig for a person: `pyinfra -y inventory.py actions/add_user.py --data user=NAME --data groups=GROUP,GROUP`.

It is `users/NAME.conf` in the folder of keys, valid for 30 days, or for --data days=DAYS. The user has the rights of
the roles that are bound to that name or to those groups.
"""

from pyinfra import host, inventory

from operations.keys import keep
from operations.rotation import complete
from operations.target import first, leads
from operations.users import settle, trust
from run.inventory import cluster_of, node_of, pki_of_run
from tasks import preflight

preflight.recognize()

cluster, node = cluster_of(inventory), node_of(host)

complete(name="require all masters", nodes=cluster.masters, why="a new user needs all masters")
if leads(node):
    keep(name="save the user's kubeconfig", pki=pki_of_run(host.state))
if "masters" in node.roles:
    trust(name="trust users on API servers", cluster=cluster, pki=pki_of_run(host.state))
if node == first("masters"):
    settle(name="wait until API servers trust only current authorities")
