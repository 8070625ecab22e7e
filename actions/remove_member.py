"""Remove a member from etcd only: `pyinfra -y inventory.py actions/remove_member.py --data member=NAME`.

NAME can also be its address or ID. Its host stays a node; leave out a lost host: --exclude NAME. Then take the host out
of the group etcd, or deploy to make it join again.
"""

from pyinfra import host, inventory

from kubekeel.parts import ETCD
from operations.former_roles import remove
from operations.leaving import departure, leave
from run.inventory import cluster_of, node_of
from tasks import preflight

preflight.recognize()

member = str(host.data.member)
leaving = departure(host.state, member)
cluster, node = cluster_of(inventory), node_of(host)

if node.name == leaving.by:
    leave(name="leave etcd", member=member, cluster=cluster)
if node.name == leaving.off:
    remove(name="remove etcd from the host", parts=[ETCD], node=node, cluster=cluster)
