"""Restore a cluster from a backup on machines without a cluster.

`pyinfra -y inventory.py actions/restore.py --data backup=FILE`

It saves the backup's keys once all members of etcd can be restored; after etcd's data follows an ordinary deploy.
"""

from pyinfra import host, inventory, local

from kubekeel.render import etcd_tools
from operations.backup import agree, stage, stop_api_server, stop_flannel, take_over
from operations.keys import keep
from operations.target import here, leads
from run.inventory import backup_of
from tasks import node, preflight

preflight.check()

target = here()
roles = target.node.roles

# The leader, too, so that no run without a member saves keys.
if "etcd" in roles or leads(target.node):
    size = backup_of(inventory).metadata.size
    agree(name="check that etcd may be restored", confirmed=bool(host.data.get("confirm")), size=size)
if leads(target.node):
    keep(name="save the keys of the backup", pki=target.pki)
node.converge(target)
if "masters" in roles:
    stop_api_server(name="stop the API server")
if target.runs_pods:
    stop_flannel(name="stop flannel")
if "etcd" in roles:
    stage(name="stage the backup's data", backup=backup_of(inventory), tools=etcd_tools(target))
if "etcd" in roles:
    take_over(name="put the data in place")
local.include("deploy.py")
