"""A node leaves the cluster for good: `pyinfra -y inventory.py actions/remove_node.py --data node=NAME`.

A host that is gone is left out: --exclude NAME. Then take it out of the inventory, or deploy to have it back.
"""

from pyinfra import host, inventory

from operations.inventory import cluster_of, node_of
from operations.leaving import leave, may_leave
from operations.removal import check, delete_lease, drain, forget, reset
from operations.target import etcd_answers_on, first, present
from tasks import preflight

preflight.recognize()

name = str(host.data.node)
check(name)

cluster, node = cluster_of(inventory), node_of(host)
leads_masters = node == first("masters", without=name)
leads_etcd = node == etcd_answers_on(without=name)

if leads_etcd:
    may_leave(name="may leave etcd", member=name, cluster=cluster)
if leads_masters and name in {each.name for each in present()}:
    drain(name="drain", node=name)
if leads_etcd:
    leave(name="leave etcd", member=name, cluster=cluster)
if leads_masters:
    forget(name="delete", node=name)
if node.name == name:
    reset(name="reset")
if leads_etcd:
    delete_lease(name="delete flannel's lease", node=name)
