"""Remove a node from the cluster for good: `pyinfra -y inventory.py actions/remove_node.py --data node=NAME`.

Leave out a lost host: --exclude NAME. Then take it out of the inventory, or deploy to bring it back.
"""

from pyinfra import host, inventory

from kubekeel.render import api_revocations, etcd_content
from operations.addons import apply
from operations.etcd import delete_lease
from operations.keys import keep
from operations.leaving import leave, may_leave
from operations.removal import check, drain, forget, reset
from operations.revoking import refuse_by_etcd
from operations.target import etcd_answers_on, first, leads, present
from run.inventory import cluster_of, node_of, pki_of_run
from tasks import preflight

preflight.recognize()

name = str(host.data.node)
check(name)

cluster, node = cluster_of(inventory), node_of(host)
leads_masters = node == first("masters", without=name)
leads_etcd = node == etcd_answers_on(without=name)

if leads_etcd:
    may_leave(name="check that the node may leave etcd", member=name, cluster=cluster)
if leads_masters and name in {each.name for each in present()}:
    drain(name="drain the node", node=name)
if leads_etcd:
    leave(name="leave etcd", member=name, cluster=cluster)
if leads_masters:
    forget(name="delete the Node", node=name)
if node.name == name:
    reset(name="reset the host")
if leads_etcd:
    address = next((each.address for each in cluster.nodes if each.name == name), "")
    delete_lease(name="delete flannel's lease", node=name, address=address, wanted=etcd_content(cluster))
# Its keys are revoked wherever copies may be: a new machine of its name gets new keys.
if leads(node):
    keep(name="revoke the node's certificates", pki=pki_of_run(host.state))
if "etcd" in node.roles and node.name != name:
    refuse_by_etcd(name="refuse revoked certificates on etcd", pki=pki_of_run(host.state))
if leads_masters:
    apply(name="refuse revoked certificates on API servers", manifests=api_revocations(pki_of_run(host.state)))
